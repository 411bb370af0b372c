#include "triax/comm/reduce.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "triax/base/error.h"

namespace triax {
namespace {

template <typename T>
std::vector<T> reduce(const std::vector<std::vector<T>>& from, ReduceOp op) {
  std::vector<const void*> sources;
  for (const auto& each : from) sources.push_back(each.data());
  std::vector<T> result(from[0].size());
  reduce_in_order(sources, result.data(), result.size(), dtype_of<T>, op);
  return result;
}

TEST(Reduce, AddsFromLeftToRight) {
  // (1e8 + 1) - 1e8 is 0 in f32, in this order only.
  EXPECT_EQ(reduce<float>({{1e8f}, {1.f}, {-1e8f}}, ReduceOp::sum)[0], 0.f);
  EXPECT_EQ(reduce<float>({{1e8f}, {-1e8f}, {1.f}}, ReduceOp::sum)[0], 1.f);
}

TEST(Reduce, HalvesAreAccumulatedInSinglePrecision) {
  // In bf16, 256 + 1 is 256; in f32 the eight ones are not lost.
  std::vector<std::vector<bf16>> ones(9, {bf16(1.f)});
  ones[0][0] = bf16(256.f);
  EXPECT_EQ(static_cast<float>(reduce(ones, ReduceOp::sum)[0]), 264.f);
  std::vector<std::vector<f16>> halves(9, {f16(1.f)});
  halves[0][0] = f16(2048.f);
  EXPECT_EQ(static_cast<float>(reduce(halves, ReduceOp::sum)[0]), 2056.f);
}

TEST(Reduce, MaximumAndMinimumKeepNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const ReduceOp op : {ReduceOp::max, ReduceOp::min}) {
    EXPECT_TRUE(std::isnan(reduce<float>({{1.f}, {nan}, {2.f}}, op)[0]));
    EXPECT_TRUE(std::isnan(reduce<float>({{nan}, {1.f}, {2.f}}, op)[0]));
    EXPECT_TRUE(std::isnan(reduce<float>({{1.f}, {2.f}, {nan}}, op)[0]));
  }
  EXPECT_EQ(reduce<int64_t>({{3}, {-9}, {5}}, ReduceOp::max)[0], 5);
  EXPECT_EQ(reduce<int32_t>({{3}, {-9}, {5}}, ReduceOp::min)[0], -9);
}

TEST(Reduce, RefusesTypesWithoutArithmetic) { EXPECT_THROW(check_reducible(DType::boolean), Error); }

}  // namespace
}  // namespace triax
