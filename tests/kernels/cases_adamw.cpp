#include "kernels/reference.h"
#include "triax/kernels/adamw.h"

namespace triax::harness {
namespace {

std::unique_ptr<Problem> update(int64_t count, const AdamWStep& step, DType copy_type) {
  const bool with_copy = copy_type != DType::f32;
  auto p = std::make_unique<Problem>(51);
  const Tensor param = p->in_out("param", {count}, DType::f32, 0.02);
  const Tensor grad = p->input("grad", {count}, DType::f32, 0.1);
  const Tensor m = p->in_out("m", {count}, DType::f32, 0.01);
  const Tensor v2 = p->in_out("v", {count}, DType::f32, 1e-4, 1e-3);
  edit(v2, [](const Tensor& v) {
    for (float& value : v.span<float>()) value = std::abs(value);
  });
  const Tensor copy = with_copy ? p->output("copy", {count}, copy_type) : Tensor{};
  p->run = [=](const Context& context) { adamw_update(context, step, param, grad, m, v2, copy); };
  p->reference = [=](Values& v) {
    const double b1 = step.beta1, b2 = step.beta2, rate = step.learning_rate;
    const auto t = static_cast<double>(step.step);
    for (size_t i = 0; i < v["param"].size(); ++i) {
      const double g = v["grad"][i] * step.gradient_scale;
      double& m1 = v["m"][i];
      double& m2 = v["v"][i];
      m1 = b1 * m1 + (1 - b1) * g;
      m2 = b2 * m2 + (1 - b2) * g * g;
      const double mean = m1 / (1 - std::pow(b1, t)), square = m2 / (1 - std::pow(b2, t));
      double& value = v["param"][i];
      value -= rate * step.weight_decay * value;
      value -= rate * mean / (std::sqrt(square) + step.epsilon);
      if (with_copy) v["copy"][i] = value;
    }
  };
  p->tolerance = 1e-6;
  return p;
}

}  // namespace

void add_adamw_cases(Table& table) {
  const AdamWStep first{.learning_rate = 1e-3f, .weight_decay = 0.1f};
  AdamWStep later{.learning_rate = 3e-4f, .beta2 = 0.95f, .step = 1000, .gradient_scale = 0.37f};
  for (const DType copy : {DType::f32, DType::bf16, DType::f16}) {
    const auto add = [&](Purpose purpose, int64_t count, const AdamWStep& step) {
      table.push_back({"adamw_update",
                       fmt::format("count={} step={} copy={}", count, step.step,
                                   copy == DType::f32 ? "none" : name_of(copy)),
                       purpose, [=] { return update(count, step, copy); }});
    };
    for (const int64_t count : {0, 1, 17, 70001}) {
      add(Purpose::test, count, first);
      add(Purpose::test, count, later);
    }
    add(Purpose::benchmark, 14 << 20, later);
    if (copy == DType::bf16) add(Purpose::gpu_benchmark, 32 << 20, later);
  }
}

}  // namespace triax::harness
