#include "triax/base/rng.h"

#include <gtest/gtest.h>

namespace triax {
namespace {

// Known answers published with Random123 (kat_vectors, philox4x32 10 rounds).
TEST(Philox, GivesThePublishedVectors) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, 0, 0),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffff, 0xffffffff),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Dropout, KeepsTheAskedShare) {
  const Dropout dropout{.probability = 0.1f, .seed = 7, .site = 3, .step = 2};
  int64_t kept = 0;
  const int64_t rows = 300, cols = 333;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) kept += dropout_keep(dropout, r, c, cols) ? 1 : 0;
  const double share = static_cast<double>(kept) / static_cast<double>(rows * cols);
  EXPECT_NEAR(share, 0.9, 5 * std::sqrt(0.09 / static_cast<double>(rows * cols)));
  EXPECT_NEAR(dropout.scale(), 1 / 0.9, 2e-5);
}

TEST(PhiloxNormal, HasTheMomentsOfANormal) {
  double sum = 0, squares = 0, fourth = 0;
  constexpr int kCount = 200000;
  for (int i = 0; i < kCount; ++i) {
    const double x = philox_normal(1, 2, static_cast<uint64_t>(i));
    sum += x, squares += x * x, fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.01);
  EXPECT_NEAR(squares / kCount, 1, 0.02);
  EXPECT_NEAR(fourth / kCount, 3, 0.1);
}

TEST(Philox, NextBelowCoversItsRangeEvenly) {
  Philox random(5);
  int counts[7] = {};
  for (int i = 0; i < 70000; ++i) ++counts[random.next_below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
}

}  // namespace
}  // namespace triax
