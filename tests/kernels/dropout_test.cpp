#include "triax/kernels/cpu/dropout.h"

#include <gtest/gtest.h>

#include <vector>

namespace triax {
namespace {

Dropout example(float probability) {
  Dropout dropout;
  dropout.probability = probability;
  dropout.seed = 0x0123456789ABCDEFull;
  dropout.site = 0xFFFFFFF7u;
  dropout.step = 0x80000001u;
  return dropout;
}

float expected(const Dropout& dropout, int64_t row, int64_t col, int64_t cols) {
  return dropout_keep(dropout, row, col, cols) ? dropout.scale() : 0.0f;
}

// Rows up to 2^40, so that the counter's upper word takes part.
TEST(DropoutMask, AgreesWithItsDefinition) {
  for (const float probability : {0.0001f, 0.1f, 0.5f, 0.999f})
    for (const int64_t cols : {1, 128, 130, 5000})
      for (const int64_t row : {int64_t{0}, int64_t{7}, int64_t{1} << 28, int64_t{1} << 40})
        for (const int64_t col : {0, 1, 15, 16, 127, 128, 200}) {
          const Dropout dropout = example(probability);
          const cpu::DropoutMask mask(dropout, cols);
          std::vector<float> factors(300, -1);
          const int64_t count = cols > 300 ? 299 : cols;
          cpu::dropout_factors(mask, row, col, count, factors.data());
          for (int64_t j = 0; j < count; ++j)
            ASSERT_EQ(factors[static_cast<size_t>(j)], expected(dropout, row, col + j, cols))
                << "row " << row << " col " << col + j << " of " << cols;
          ASSERT_EQ(factors[static_cast<size_t>(count)], -1) << "wrote past its end";
        }
}

TEST(DropoutMask, TransposeAgreesWithItsDefinition) {
  constexpr int64_t kRows = 48, kStride = 56, kCols = 700, kStep = 12;
  const Dropout dropout = example(0.3f);
  const cpu::DropoutMask mask(dropout, kCols);
  for (const int64_t first : {int64_t{5}, (int64_t{1} << 32) - 3}) {
    std::vector<float> factors(128 * kStride);
    cpu::dropout_factors_transposed(mask, first, kStep, kRows, 3, factors.data(), kStride);
    for (int64_t c = 0; c < 128; ++c)
      for (int64_t r = 0; r < kRows; ++r)
        ASSERT_EQ(factors[static_cast<size_t>(c * kStride + r)],
                  expected(dropout, first + r * kStep, 3 * 128 + c, kCols));
  }
}

TEST(DropoutMask, DropsWithItsProbability) {
  const Dropout dropout = example(0.1f);
  const cpu::DropoutMask mask(dropout, 1 << 20);
  std::vector<float> factors(1 << 20);
  cpu::dropout_factors(mask, 1, 0, 1 << 20, factors.data());
  double kept = 0, sum = 0;
  for (const float f : factors) kept += f != 0, sum += f;
  EXPECT_NEAR(kept / (1 << 20), 0.9, 5 * 0.3 / 1024);
  EXPECT_NEAR(sum / (1 << 20), 1.0, 5 * 0.34 / 1024);
}

}  // namespace
}  // namespace triax
