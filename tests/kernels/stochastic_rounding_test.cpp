// What stochastic rounding is for: the mean is right; and it depends on an element's place in its parameter only.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <set>

#include "kernels/cuda_on_host/queue.h"
#include "triax/kernels/adamw.h"
#include "triax/kernels/device_queue.h"

namespace triax {
namespace {

// Copies of `values` [rows, width], which are columns [offset, ...) of a parameter of global_width.
std::vector<uint16_t> round(const Context& context, std::vector<float> values, int64_t width, int64_t global_width, int64_t offset,
                            int64_t step = 7) {
  const auto count = static_cast<int64_t>(values.size());
  std::vector<uint16_t> copies(values.size());
  const std::vector<AdamWRange> ranges = {{.param = Tensor(values.data(), {count}, DType::f32, context.device), .grad = {}, .m = {}, .v = {},
                                           .copy = Tensor(copies.data(), {count}, DType::bf16, context.device),
                                           .place = {.stream = 5, .first = 0, .width = width, .global_width = global_width, .offset = offset}}};
  adamw_update(context, {.step = step, .stochastic_rounding = true, .seed = 11}, ranges);
  return copies;
}

float value_of(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

TEST(StochasticRounding, KeepsTheMean) {
  for (const float value : {1.0f + 0.3f / 128, -3.0f - 0.9f / 64, 1e-20f, 0.1f}) {
    const std::vector<float> same(100000, value);
    const std::vector<uint16_t> copies = round({}, same, 100000, 100000, 0);
    double sum = 0;
    std::set<uint16_t> seen;
    for (const uint16_t copy : copies) sum += static_cast<double>(value_of(copy)), seen.insert(copy);
    EXPECT_EQ(seen.size(), 2u) << value;
    const double spacing = std::abs(static_cast<double>(value_of(*seen.begin())) - static_cast<double>(value_of(*seen.rbegin())));
    EXPECT_NEAR(sum / 100000, static_cast<double>(value), 0.01 * spacing) << value;
    EXPECT_NE(copies, round({}, same, 100000, 100000, 0, 8)) << "another step rounds otherwise";
  }
  // What needs no rounding has none; what is not finite stays so.
  const std::vector<float> exact = {0.0f, -0.0f, 1.0f, -1.5f, INFINITY, -INFINITY};
  const std::vector<uint16_t> copies = round({}, exact, 6, 6, 0);
  for (size_t i = 0; i < exact.size(); ++i) EXPECT_EQ(value_of(copies[i]), exact[i]);
  EXPECT_TRUE(std::isnan(value_of(round({}, {NAN}, 1, 1, 0)[0])));
}

TEST(StochasticRounding, IsTheSameHoweverAParameterIsCut) {
  constexpr int64_t kRows = 6, kColumns = 40;
  std::vector<float> whole(kRows * kColumns);
  for (size_t i = 0; i < whole.size(); ++i) whole[i] = 0.001f * static_cast<float>(i * i) - 3;
  const std::unique_ptr<DeviceQueue> queue = cuda_on_host::make_queue();
  const std::vector<uint16_t> want = round({}, whole, kColumns, kColumns, 0);
  for (const Context& context : {Context{}, queue->context()}) {
    EXPECT_EQ(round(context, whole, kColumns, kColumns, 0), want);
    for (const int64_t cut : {8, 13, 24}) {
      std::vector<float> right;
      std::vector<uint16_t> of_right;
      for (int64_t i = 0; i < kRows * kColumns; ++i) {
        if (i % kColumns < cut) continue;
        right.push_back(whole[static_cast<size_t>(i)]), of_right.push_back(want[static_cast<size_t>(i)]);
      }
      EXPECT_EQ(round(context, right, kColumns - cut, kColumns, cut), of_right) << cut;
    }
  }
}

}  // namespace
}  // namespace triax
