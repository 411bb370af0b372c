#include <fmt/ranges.h>

#include <bit>

#include "triax/kernel_cases/reference.h"
#include "triax/kernels/adamw.h"

namespace triax::harness {
namespace {

struct UpdateForm {
  AdamWStep step;
  float learning_rate = 0, weight_decay = 0;
  DType copy = DType::f32;
  bool has_copy = true;
  int64_t width = 0;  // of stochastic rounding's boxes
  std::vector<int64_t> counts;  // of the ranges
  std::string name() const {
    return fmt::format("counts={} step={} copy={}", counts.size() > 4 ? fmt::format("{} ranges", counts.size()) : fmt::format("{}", fmt::join(counts, ",")),
                       step.step, has_copy ? name_of(copy) : "none") +
           (width > 0 ? fmt::format(" stochastic width={}", width) : "");
  }
};

// Range i has half the learning rate of the one before, and every other no weight decay.
float rate_of(const UpdateForm& f, size_t i) { return f.learning_rate / static_cast<float>(1 << (i % 8)); }
float decay_of(const UpdateForm& f, size_t i) { return i % 2 == 0 ? f.weight_decay : 0; }

// A box of columns 3 to 3 + width of 2 * width + 5 (of 8 to 8 + width where that is a multiple of 8).
RoundingPlace place_of(const UpdateForm& f, size_t i) {
  if (f.width == 0) return {};
  const bool whole = f.width % 8 == 0;
  return {.stream = static_cast<uint32_t>(77 + i), .first = 64, .width = f.width, .global_width = whole ? 4 * f.width : 2 * f.width + 5,
          .offset = whole ? 8 : 3};
}

float rounded(const UpdateForm& f, size_t range, int64_t element, double x) {
  const RoundingPlace place = place_of(f, range);
  const int64_t index = place.index(element);
  const PhiloxBlock numbers = rounding_numbers(f.step.seed, place.stream, static_cast<uint32_t>(f.step.step), static_cast<uint64_t>(index / 8));
  const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(x));
  return std::bit_cast<float>(round_up_by(bits, rounding_number(numbers, static_cast<int>(index % 8))) << 16);
}

std::unique_ptr<Problem> update(const UpdateForm& f) {
  auto p = std::make_unique<Problem>(51);
  std::vector<AdamWRange> ranges;
  for (size_t i = 0; i < f.counts.size(); ++i) {
    const Shape shape{f.counts[i]};
    const auto name = [i](const char* of) { return fmt::format("{}{}", of, i); };
    AdamWRange range{.learning_rate = rate_of(f, i), .weight_decay = decay_of(f, i),
                     .param = p->in_out(name("param"), shape, DType::f32, 0.02), .grad = p->input(name("grad"), shape, DType::f32, 0.1),
                     .m = p->in_out(name("m"), shape, DType::f32, 0.01), .v = p->in_out(name("v"), shape, DType::f32, 1e-4, 1e-3),
                     .copy = f.has_copy ? p->output(name("copy"), shape, f.copy) : Tensor{}, .place = place_of(f, i)};
    edit(range.v, [](const Tensor& v) {
      for (float& value : v.span<float>()) value = std::abs(value);
    });
    ranges.push_back(range);
  }
  p->run = [ranges, step = f.step](const Context& context) { adamw_update(context, step, ranges); };
  p->reference = [f](Values& v) {
    const double b1 = f.step.beta1, b2 = f.step.beta2;
    const auto t = static_cast<double>(f.step.step);
    for (size_t r = 0; r < f.counts.size(); ++r) {
      const double rate = rate_of(f, r), decay = decay_of(f, r);
      const auto of = [&](const char* name) -> Vector& { return v[fmt::format("{}{}", name, r)]; };
      Vector &param = of("param"), &grad = of("grad"), &m = of("m"), &square = of("v");
      for (size_t i = 0; i < param.size(); ++i) {
        const double g = grad[i] * f.step.gradient_scale;
        m[i] = b1 * m[i] + (1 - b1) * g;
        square[i] = b2 * square[i] + (1 - b2) * g * g;
        param[i] -= rate * decay * param[i];
        param[i] -= rate * m[i] / (1 - std::pow(b1, t)) / (std::sqrt(square[i] / (1 - std::pow(b2, t))) + f.step.epsilon);
      }
      if (!f.has_copy) continue;
      for (size_t i = 0; i < param.size(); ++i)
        of("copy")[i] = f.width > 0 ? static_cast<double>(rounded(f, r, static_cast<int64_t>(i), param[i])) : param[i];
    }
  };
  // The element may be at the brink of being rounded the other way.
  p->tolerance = f.width > 0 ? 0x1p-8 : 1e-6;
  return p;
}

}  // namespace

void add_adamw_cases(Table& table) {
  const auto add = [&](Purpose purpose, const UpdateForm& form) {
    table.push_back({"adamw_update", form.name(), purpose, [=] { return update(form); }});
  };
  const UpdateForm first{.step = {}, .learning_rate = 1e-3f, .weight_decay = 0.1f, .counts = {}};
  const UpdateForm later{.step = {.beta2 = 0.95f, .step = 1000, .gradient_scale = 0.37f}, .learning_rate = 3e-4f, .counts = {}};
  for (UpdateForm form : {first, later}) {
    const auto add_counts = [&](Purpose purpose, std::vector<int64_t> counts) {
      form.counts = std::move(counts);
      add(purpose, form);
    };
    for (const DType copy : kComputeTypes) {
      form.copy = copy;
      for (const int64_t count : {0, 1, 17}) add_counts(Purpose::test, {count});
      add_counts(Purpose::test, {4096, 5, 0, 2048, 3000});
      add_counts(Purpose::test, std::vector<int64_t>(300, 24));  // more than a launch takes
    }
    form.copy = DType::bf16, form.step.stochastic_rounding = true, form.step.seed = 0x123456789;
    for (const int64_t width : {1, 21, 64}) form.width = width, add_counts(Purpose::test, {4096, 100, 3});
    form.width = 0, form.step.stochastic_rounding = false, form.has_copy = false;
    add_counts(Purpose::test, {70001});
  }
  UpdateForm timed = later;
  timed.counts = {14 << 20};
  for (const DType copy : {DType::bf16, DType::f16}) timed.copy = copy, add(Purpose::benchmark, timed);
  timed.copy = DType::bf16, timed.width = 4096, timed.step.stochastic_rounding = true;
  add(Purpose::benchmark, timed);
  timed.width = 0, timed.step.stochastic_rounding = false, timed.has_copy = false;
  add(Purpose::benchmark, timed);
  // GPT-2 small: 28 ranges.
  timed.has_copy = true, timed.copy = DType::bf16, timed.counts = {38633472, 786432};
  for (int layer = 0; layer < 12; ++layer) timed.counts.push_back(7077888), timed.counts.push_back(9984);
  timed.counts.push_back(1536);
  add(Purpose::gpu_benchmark, timed);
}

}  // namespace triax::harness
