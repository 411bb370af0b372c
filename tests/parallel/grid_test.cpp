#include <gtest/gtest.h>

#include "parallel/ranks.h"
#include "triax/base/error.h"
#include "triax/comm/process_grid.h"

namespace triax {
namespace {

using test::world;

// World ranks of a group, in group order.
std::vector<int64_t> members(Communicator& group) {
  std::vector<int64_t> all(static_cast<size_t>(group.size()));
  int64_t mine = world().rank();
  group.all_gather({&mine, {1}, DType::i64}, {all.data(), {group.size()}, DType::i64});
  return all;
}

TEST(World, KnowsItsRanks) {
  EXPECT_GE(world().size(), 2);
  EXPECT_EQ(world().communicator().rank(), world().rank());
  EXPECT_EQ(world().local_rank(), world().rank());  // one host here
  EXPECT_EQ(world().local_size(), world().size());
}

TEST(World, AgreeingRanksPassTheHandshake) {
  const Fingerprint same[] = {{"seed", "1234"}, {"config", "0123456789abcdef"}};
  EXPECT_NO_THROW(world().require_same(same));
}

TEST(World, TheOddRankIsNamed) {
  const int odd = world().size() - 1;
  const Fingerprint differing[] = {{"config", "same"}, {"seed", world().rank() == odd && odd > 1 ? "7" : "1234"}};
  try {
    world().require_same(differing);
    EXPECT_LE(odd, 1);
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              fmt::format("the ranks were not started alike: rank {} on {} has seed = 7, the other {} have 1234; "
                          "start all of them with the same program and settings", odd, world().host(), odd));
  }
  world().communicator().barrier();
}

TEST(ProcessGrid, GroupsAreTheLinesOfTheGrid) {
  std::vector<GridShape> shapes;
  for (const char* order : {"tp-dp-pp", "pp-tp-dp"})
    for (int t = 1; t <= 4; ++t)
      for (int p = 1; p <= 4; ++p)
        if (world().size() % (t * p) == 0) shapes.push_back({t, p, 0, order});
  ASSERT_GE(shapes.size(), 6u);
  for (const GridShape& asked : shapes) {
    const ProcessGrid grid(world(), asked);
    const GridShape& shape = grid.shape();
    const GridCoordinates at = grid.at();
    EXPECT_EQ(grid.tensor().rank(), at.tensor);
    EXPECT_EQ(grid.pipeline().rank(), at.pipeline);
    EXPECT_EQ(grid.data().rank(), at.data);
    EXPECT_EQ(grid.model().size(), shape.tensor_parallel * shape.pipeline_parallel);
    for (int i = 0; i < shape.tensor_parallel; ++i)
      EXPECT_EQ(members(grid.tensor())[static_cast<size_t>(i)], rank_of(shape, {i, at.pipeline, at.data}));
    for (int i = 0; i < shape.pipeline_parallel; ++i)
      EXPECT_EQ(members(grid.pipeline())[static_cast<size_t>(i)], rank_of(shape, {at.tensor, i, at.data}));
    for (int i = 0; i < shape.data_parallel; ++i)
      EXPECT_EQ(members(grid.data())[static_cast<size_t>(i)], rank_of(shape, {at.tensor, at.pipeline, i}));
    const bool at_an_end = grid.first_stage() || grid.last_stage();
    ASSERT_EQ(grid.embedding() != nullptr, shape.pipeline_parallel > 1 && at_an_end);
    if (grid.embedding()) {
      EXPECT_EQ(members(*grid.embedding()),
                (std::vector<int64_t>{rank_of(shape, {at.tensor, 0, at.data}),
                                      rank_of(shape, {at.tensor, shape.pipeline_parallel - 1, at.data})}));
    }
    world().communicator().barrier();
  }
}

TEST(ProcessGrid, AGridThatDoesNotFitIsRefusedOnEveryRank) {
  EXPECT_THROW(ProcessGrid(world(), {5, 1, 1}), Error);
}

}  // namespace
}  // namespace triax
