// Linear layers in FP8: how far they may be from the product of what was not rounded, and when they are not in FP8. The codes
// themselves are in the table of cases.
#include "triax/kernels/float8.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cuda_on_host/queue.h"
#include "triax/base/error.h"
#include "triax/kernel_cases/reference.h"
#include "triax/kernels/device_queue.h"

namespace triax {
namespace {

constexpr Device kEmulated{Device::Kind::emulated, 0};
constexpr double kE4m3Rounding = 0x1p-4, kE5m2Rounding = 0x1p-3, kBf16Rounding = 0x1p-8;

class Float8Products : public testing::Test {
 protected:
  Float8Products() : memory_(float8_bytes(kRows, kIn, kOut), kEmulated) { queue_->float8 = {memory_.data(), memory_.bytes()}; }

  static OwnedTensor random(Shape shape, uint64_t seed, double spread = 1) {
    OwnedTensor x(shape, DType::bf16, kEmulated);
    const harness::Vector values = harness::random_vector(static_cast<size_t>(shape.numel()), seed);
    for (size_t i = 0; bf16& value : x.span<bf16>()) value = bf16(static_cast<float>(spread * values[i++]));
    return x;
  }
  static harness::Vector values_of(const Tensor& x) {
    harness::Vector values;
    for (int64_t i = 0; i < x.numel(); ++i)
      values.push_back(static_cast<double>(x.dtype() == DType::f32 ? x.data<float>()[i] : static_cast<float>(x.data<bf16>()[i])));
    return values;
  }
  Context context(bool in_layer) const { return {.device = kEmulated, .queue = queue_.get(), .in_layer = in_layer}; }

  // c [m, n] = a b + what it was; the error of each element is at most what the roundings of both factors of each term
  // can add up to, and of some more than bf16 would explain.
  static void expect_within_rounding(bool transpose_a, bool transpose_b, const Tensor& a, const Tensor& b, double a_rounding, const Tensor& c) {
    const int64_t m = c.dim(0), n = c.dim(1), k = a.dim(transpose_a ? 0 : 1);
    harness::Vector sums(static_cast<size_t>(m * n)), sizes = sums, left = values_of(a), right = values_of(b);
    reference::add_product(transpose_a, transpose_b, m, n, k, left, right, sums);
    for (harness::Vector* x : {&left, &right})
      for (double& value : *x) value = std::abs(value);
    reference::add_product(transpose_a, transpose_b, m, n, k, left, right, sizes);
    const double both = a_rounding + kE4m3Rounding + a_rounding * kE4m3Rounding;
    const harness::Vector got = values_of(c);
    double largest = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_LE(std::abs(got[i] - sums[i]), (both + 2 * kBf16Rounding) * sizes[i]) << i;
      largest = std::max(largest, std::abs(got[i] - sums[i]) / sizes[i]);
    }
    EXPECT_GT(largest, 2 * kBf16Rounding) << "not rounded to FP8";
  }

  static constexpr int64_t kRows = 51, kIn = 48, kOut = 32;
  std::unique_ptr<DeviceQueue> queue_ = cuda_on_host::make_queue();
  Buffer memory_;
};

TEST_F(Float8Products, AreAsNearAsTheirRoundingsAllow) {
  const OwnedTensor x = random({kRows, kIn}, 1), weight = random({kOut, kIn}, 2, 0.02), dy = random({kRows, kOut}, 3, 1e-7);
  const OwnedTensor y({kRows, kOut}, DType::bf16, kEmulated), dx({kRows, kIn}, DType::bf16, kEmulated), dweight({kOut, kIn}, DType::f32, kEmulated);
  linear_forward(context(true), x, weight, {}, y);
  expect_within_rounding(false, true, x, weight, kE4m3Rounding, y);
  linear_backward_input(context(true), dy, weight, dx);
  expect_within_rounding(false, false, dy, weight, kE5m2Rounding, dx);
  linear_backward_weight(context(true), dy, x, dweight, {});
  expect_within_rounding(true, false, dy, x, kE5m2Rounding, dweight);
}

TEST_F(Float8Products, AreOfBf16OutsideOfLayersAndWhereTheShapeDoesNotFit) {
  const OwnedTensor x = random({kRows, kIn}, 1), weight = random({kOut, kIn}, 2), narrow = random({24, kIn}, 2);
  const auto forward = [&](const Tensor& w, bool in_layer) {
    const OwnedTensor y({kRows, w.dim(0)}, DType::bf16, kEmulated);
    linear_forward(context(in_layer), x, w, {}, y);
    return values_of(y);
  };
  EXPECT_NE(forward(weight, true), forward(weight, false));
  EXPECT_EQ(forward(narrow, true), forward(narrow, false));
  queue_->float8 = {memory_.data(), 1000};
  EXPECT_THROW(forward(weight, true), Error) << "more memory than there is";
  queue_->float8 = {};
  EXPECT_EQ(forward(weight, true), forward(weight, false));
}

// So that training says that something overflowed, as in bf16.
TEST_F(Float8Products, KeepWhatIsNotFinite) {
  const OwnedTensor x = random({kRows, kIn}, 1), weight = random({kOut, kIn}, 2), y({kRows, kOut}, DType::bf16, kEmulated);
  x.span<bf16>()[3 * kIn + 5] = bf16(-INFINITY);
  linear_forward(context(true), x, weight, {}, y);
  const harness::Vector got = values_of(y);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(std::isfinite(got[i]), i / kOut != 3) << i;
}

// The scale is a power of two: a matrix cut among ranks is rounded as the whole one, but for what is very small.
TEST_F(Float8Products, RoundElementsTheSameWhateverTheLargestIs) {
  const OwnedTensor x = random({16, 16}, 4);
  const auto rounded = [&] {
    const OwnedTensor codes({16, 16}, DType::u8, kEmulated), factor({1}, DType::f32, kEmulated);
    quantize(context(false), x, Float8::e4m3, false, codes, factor);
    harness::Vector values;
    for (const uint8_t code : codes.span<uint8_t>())
      values.push_back(static_cast<double>(factor.span<float>()[0]) * reference::float8_value(code, Float8::e4m3));
    return values;
  };
  const harness::Vector before = rounded();
  x.span<bf16>()[0] = bf16(47.0f);
  const harness::Vector after = rounded();
  for (size_t i = 1; i < before.size(); ++i)
    EXPECT_TRUE(after[i] == before[i] || std::abs(before[i]) <= 47 * 0x1p-14) << i;
}

}  // namespace
}  // namespace triax
