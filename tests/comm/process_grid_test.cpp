#include "triax/comm/process_grid.h"

#include <gtest/gtest.h>

#include "triax/base/error.h"

namespace triax {
namespace {

template <typename Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(GridShape, TensorIsFastestThenDataThenPipeline) {
  const GridShape shape{2, 4, 3};
  for (int tp = 0; tp < 2; ++tp)
    for (int pp = 0; pp < 4; ++pp)
      for (int dp = 0; dp < 3; ++dp) EXPECT_EQ(rank_of(shape, {tp, pp, dp}), tp + 2 * (dp + 3 * pp));
}

TEST(GridShape, RanksAndCoordinatesAreOneToOneInEveryOrder) {
  for (const char* order : {"tp-dp-pp", "tp-pp-dp", "dp-tp-pp", "dp-pp-tp", "pp-tp-dp", "pp-dp-tp"}) {
    const GridShape shape{2, 3, 4, order};
    for (int rank = 0; rank < shape.ranks(); ++rank) {
      const GridCoordinates at = coordinates_of(shape, rank);
      EXPECT_EQ(rank_of(shape, at), rank) << order;
      EXPECT_TRUE(at.tensor < 2 && at.pipeline < 3 && at.data < 4) << order;
    }
  }
  EXPECT_EQ(rank_of({2, 3, 4, "pp-dp-tp"}, {1, 0, 0}), 12);
}

TEST(GridShape, WhatDoesNotFitIsRefusedWithWhatWould) {
  EXPECT_EQ(error_of([] { fit_grid({4, 2, 3}, 16); }),
            "tensor_parallel 4 x pipeline_parallel 2 x data_parallel 3 = 24 ranks, but the job has 16: "
            "set data_parallel = 2, or start 24 ranks");
  EXPECT_EQ(error_of([] { fit_grid({3, 2, 1}, 4); }),
            "tensor_parallel 3 x pipeline_parallel 2 x data_parallel 1 = 6 ranks, but the job has 4: start 6 ranks");
  EXPECT_EQ(error_of([] { fit_grid({3, 2, 0}, 16); }),
            "tensor_parallel 3 x pipeline_parallel 2 = 6 does not divide the job's 16 ranks: start 12 or 18 ranks");
  EXPECT_EQ(error_of([] { fit_grid({8, 2, 0}, 4); }),
            "tensor_parallel 8 x pipeline_parallel 2 = 16 does not divide the job's 4 ranks: start 16 ranks");
  EXPECT_EQ(error_of([] { fit_grid({0, 1, 1}, 1); }), "tensor_parallel = 0 must be at least 1");
  EXPECT_EQ(error_of([] { fit_grid({1, -1, 1}, 1); }), "pipeline_parallel = -1 must be at least 1");
  for (const char* order : {"tp-dp", "tp-tp-pp", "tp-dp-xx", "", "tp-dp-pp-tp"})
    EXPECT_NE(error_of([&] { fit_grid({1, 1, 1, order}, 1); }).find("must name tp, dp and pp once each"), std::string::npos) << order;
}

TEST(GridShape, DataParallelTakesTheRanksThatAreLeft) {
  EXPECT_EQ(fit_grid({2, 2, 0}, 16).data_parallel, 4);
  EXPECT_EQ(fit_grid({1, 1, 0}, 1).data_parallel, 1);
}

TEST(ProcessGrid, OneRankIsAGridOfItself) {
  World world;
  const ProcessGrid grid(world, {});
  EXPECT_EQ(grid.tensor().size(), 1);
  EXPECT_EQ(grid.pipeline().size(), 1);
  EXPECT_EQ(grid.data().size(), 1);
  EXPECT_EQ(grid.embedding(), nullptr);
  EXPECT_TRUE(grid.first_stage() && grid.last_stage());
  EXPECT_EQ(grid.to_string(), "tp 0/1, pp 0/1, dp 0/1");
}

}  // namespace
}  // namespace triax
