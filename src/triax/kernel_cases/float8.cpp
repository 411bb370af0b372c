// Rounding to FP8. The codes and the factor are exact: there is nothing to allow for.
#include <limits>

#include "triax/kernel_cases/reference.h"
#include "triax/kernels/float8.h"

namespace triax::harness {
namespace {

struct Float8Form {
  DType dtype;
  Float8 format;
  bool transpose = false;
  int64_t rows = 0, cols = 0, padding = 0;
  double spread = 1;
  bool chosen = false;  // all numbers of the format and what lies between them, instead of random ones
  std::string name() const {
    return fmt::format("{} {}{} rows={} cols={} padding={} spread={}{}", name_of(dtype), format == Float8::e4m3 ? "e4m3" : "e5m2",
                       transpose ? " transposed" : "", rows, cols, padding, spread, chosen ? " chosen" : "");
  }
};

// All finite numbers, the middles between neighbours, what is next to those, zeros, what is too small, and what is not finite:
// the largest is the format's, so that the factor is 1.
Vector chosen_numbers(const Float8Form& f) {
  const int largest = f.format == Float8::e4m3 ? 0x7E : 0x7B;
  const double beside = f.dtype == DType::f32 ? 0x1p-23 : f.dtype == DType::f16 ? 0x1p-10 : 0x1p-7;
  Vector numbers = {0, -0.0, NAN, INFINITY, -INFINITY, 1e-6, -1e-6};
  for (int code = 0; code <= largest; ++code) {
    const double value = reference::float8_value(code, f.format);
    numbers.insert(numbers.end(), {value, -value});
    if (code == largest) continue;
    const double middle = (value + reference::float8_value(code + 1, f.format)) / 2;
    for (const double near : {middle, middle * (1 + beside), middle * (1 - beside)}) numbers.insert(numbers.end(), {near, -near});
  }
  return numbers;
}

std::unique_ptr<Problem> quantize_problem(const Float8Form& f) {
  auto p = std::make_unique<Problem>(27, f.padding);
  const Tensor x = p->input("x", {f.rows, f.cols}, f.dtype, f.spread);
  if (f.chosen)
    edit(x, [&](const Tensor& host) {
      const Vector numbers = chosen_numbers(f);
      const auto put = [&](auto number) {
        using T = decltype(number);
        for (size_t i = 0; T& value : host.span<T>()) value = T(static_cast<float>(numbers[i++ % numbers.size()]));
      };
      f.dtype == DType::f32 ? put(0.0f) : f.dtype == DType::bf16 ? put(bf16()) : put(f16());
    });
  const int64_t rows = f.transpose ? f.cols : f.rows, cols = float8_columns(f.transpose ? f.rows : f.cols);
  const Tensor codes = p->output("codes", {rows * cols}, DType::u8), factor = p->output("factor", {1}, DType::f32);
  p->run = [=](const Context& context) { quantize(context, x, f.format, f.transpose, codes.reshape({rows, cols}), factor); };
  p->reference = [=](Values& v) {
    const double scale = reference::float8_scale(v["x"], f.format);
    v["factor"][0] = 1 / scale;
    v["codes"].assign(v["codes"].size(), 0);
    for (int64_t row = 0; row < f.rows; ++row)
      for (int64_t col = 0; col < f.cols; ++col)
        v["codes"][reference::index(f.transpose ? col * cols + row : row * cols + col)] =
            reference::float8_code(v["x"][reference::index(row * f.cols + col)] * scale, f.format);
  };
  p->tolerance = 0;
  p->traffic = static_cast<double>(2 * x.bytes() + codes.bytes());
  return p;
}

}  // namespace

void add_float8_cases(Table& table) {
  for (const Float8 format : {Float8::e4m3, Float8::e5m2})
    for (const bool transpose : {false, true}) {
      const auto add = [&](Purpose purpose, const Float8Form& form) {
        table.push_back({"quantize", form.name(), purpose, [form] { return quantize_problem(form); }});
      };
      for (const DType dtype : kComputeTypes) {
        add(Purpose::test, {.dtype = dtype, .format = format, .transpose = transpose, .rows = 37, .cols = 48, .chosen = true});
        add(Purpose::test, {dtype, format, transpose, 1, 1});
        add(Purpose::test, {dtype, format, transpose, 131, 75, 3, 1e-3});
        add(Purpose::test, {dtype, format, transpose, 3, 200, 8, 0});
      }
      for (const double spread : {1e-42, 1e-38, 1e30, 3e37})
        add(Purpose::test, {DType::f32, format, transpose, 65, 16, 0, spread});
      for (const auto& [n, h] : {std::pair<int64_t, int64_t>{16384, 768}, {8192, 4096}})
        if (format == Float8::e4m3) add(Purpose::gpu_benchmark, {DType::bf16, format, transpose, n, h});
    }
}

}  // namespace triax::harness
