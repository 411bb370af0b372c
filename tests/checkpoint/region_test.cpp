#include "triax/checkpoint/region.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "triax/base/rng.h"

namespace triax {
namespace {

// The global row-major numbers of a region's elements, in the order of its memory.
std::vector<int64_t> elements_of(const Region& region, const Shape& global) {
  std::vector<int64_t> elements;
  for (int64_t i = region.begin; i < region.end; ++i) {
    int64_t rest = i, number = 0, stride = 1;
    for (int axis = global.rank() - 1; axis >= 0; --axis) {
      number += (region.offset[axis] + rest % region.shape[axis]) * stride;
      rest /= region.shape[axis];
      stride *= global[axis];
    }
    elements.push_back(number);
  }
  return elements;
}

Region random_region(const Shape& global, Philox& random) {
  Region region = whole_region(global);
  for (int axis = 0; axis < global.rank(); ++axis) {
    const auto n = static_cast<uint64_t>(global[axis]);
    if (random.next_below(2)) continue;
    region.offset[axis] = static_cast<int64_t>(random.next_below(n));
    region.shape[axis] = 1 + static_cast<int64_t>(random.next_below(n - static_cast<uint64_t>(region.offset[axis])));
  }
  region.end = region.shape.numel();
  if (random.next_below(2)) {
    region.begin = static_cast<int64_t>(random.next_below(static_cast<uint64_t>(region.end) + 1));
    region.end = region.begin + static_cast<int64_t>(random.next_below(static_cast<uint64_t>(region.end - region.begin) + 1));
  }
  return region;
}

TEST(Region, OverlapsAreThoseOfTheElements) {
  Philox random(5);
  int meeting = 0;
  for (int round = 0; round < 3000; ++round) {
    Shape global = std::vector<Shape>{{}, {7}, {3, 4}, {2, 3, 4}, {3, 2, 2, 3}, {2, 1, 3, 2, 2}}[random.next_below(6)];
    const Region a = random_region(global, random), b = random_region(global, random);
    ASSERT_TRUE(is_inside(a, global));
    const std::vector<int64_t> in_a = elements_of(a, global), in_b = elements_of(b, global);
    std::map<int64_t, int64_t> position_in_b;
    for (size_t i = 0; i < in_b.size(); ++i) position_in_b[in_b[i]] = static_cast<int64_t>(i);
    std::vector<std::pair<int64_t, int64_t>> expected, found;
    for (size_t i = 0; i < in_a.size(); ++i)
      if (position_in_b.contains(in_a[i])) expected.emplace_back(i, position_in_b[in_a[i]]);
    for_each_overlap(a, b, [&](int64_t at_a, int64_t at_b, int64_t n) {
      EXPECT_GT(n, 0);
      for (int64_t i = 0; i < n; ++i) found.emplace_back(at_a + i, at_b + i);
    });
    ASSERT_EQ(found, expected) << a.to_string() << " and " << b.to_string();
    ASSERT_EQ(overlap_numel(a, b), static_cast<int64_t>(expected.size()));
    meeting += expected.size() > 1;
  }
  EXPECT_GT(meeting, 500);
}

TEST(Region, RunsAreAsLongAsTheyCanBe) {
  int runs = 0;
  const auto count = [&](int64_t, int64_t, int64_t) { ++runs; };
  for_each_overlap(whole_region({8, 4, 6}), whole_region({8, 4, 6}), count);
  EXPECT_EQ(runs, 1);
  runs = 0;
  for_each_overlap(whole_region({8, 4, 6}), box_region({2, 0, 0}, {3, 4, 6}), count);
  EXPECT_EQ(runs, 1);
  runs = 0;
  for_each_overlap(whole_region({3, 4, 6}), box_region({0, 1, 0}, {3, 2, 6}), count);
  EXPECT_EQ(runs, 3);
  // Only the runs inside the flat range are visited: this would take days otherwise.
  runs = 0;
  const int64_t huge = int64_t{1} << 40;
  for_each_overlap(flat_region({0, 0}, {huge, 2}, huge, huge + 6), box_region({0, 1}, {huge, 1}), count);
  EXPECT_EQ(runs, 3);
}

TEST(Region, KnowsWhetherItIsInside) {
  const Shape global{4, 6};
  EXPECT_TRUE(is_inside(box_region({2, 3}, {2, 3}), global));
  EXPECT_TRUE(is_inside(box_region({4, 0}, {0, 6}), global));
  EXPECT_FALSE(is_inside(box_region({3, 3}, {2, 3}), global));
  EXPECT_FALSE(is_inside(box_region({-1, 0}, {1, 1}), global));
  EXPECT_FALSE(is_inside(box_region({0}, {1}), global));
  EXPECT_FALSE(is_inside(flat_region({0, 0}, {2, 2}, 0, 5), global));
  EXPECT_FALSE(is_inside(flat_region({0, 0}, {2, 2}, 3, 2), global));
  EXPECT_FALSE(is_inside(box_region({INT64_MAX, 0}, {2, 2}), global));
  EXPECT_EQ(box_region({0, 2}, {4, 2}).to_string(), "[0:4, 2:4]");
  EXPECT_EQ(flat_region({0, 2}, {4, 2}, 3, 5).to_string(), "[0:4, 2:4] elements 3 to 5");
}

}  // namespace
}  // namespace triax
