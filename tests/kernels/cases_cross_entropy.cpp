#include "kernels/attention_reference.h"
#include "triax/kernels/cross_entropy.h"

namespace triax::harness {
namespace {

struct Form {
  DType dtype;
  int64_t n, columns, start, size;
  std::string name() const {
    return fmt::format("{} n={} columns={}..{} of {}", name_of(dtype), n, start, start + columns, size);
  }
};

std::unique_ptr<Problem> statistics(const Form& f) {
  auto p = std::make_unique<Problem>(41);
  const Tensor logits = p->input("logits", {f.n, f.columns}, f.dtype, 4);
  const Tensor targets = p->integers("targets", f.n, -2, f.size + 3);
  const Tensor max = p->output("max", {f.n}, DType::f32), sum = p->output("sum", {f.n}, DType::f32);
  const Tensor target = p->output("target", {f.n}, DType::f32);
  p->run = [=](const Context& context) {
    softmax_statistics(context, logits, targets, f.start, f.size, max, sum, target);
  };
  p->reference = [f](Values& v) {
    auto s = reference::softmax_statistics(f.n, f.columns, f.start, f.size, v["logits"], v["targets"]);
    v["max"] = s.max, v["sum"] = s.sum, v["target"] = s.target;
  };
  return p;
}

std::unique_ptr<Problem> backward(const Form& f) {
  auto p = std::make_unique<Problem>(42);
  const Tensor logits = p->in_out("logits", {f.n, f.columns}, f.dtype, 4);
  const Tensor targets = p->integers("targets", f.n, -2, f.size + 3);
  const Tensor lse = p->input("lse", {f.n}, DType::f32, 1, 9);
  const Tensor weight = p->input("weight", {f.n}, DType::f32);
  for (int64_t i = 0; i < f.n; i += 3) weight.data<float>()[i] = 0;
  p->run = [=](const Context& context) {
    cross_entropy_backward(context, logits, targets, f.start, f.size, lse, weight);
  };
  p->reference = [f](Values& v) {
    reference::cross_entropy_backward(f.n, f.columns, f.start, f.size, v["logits"], v["targets"],
                                      v["lse"], v["weight"]);
  };
  return p;
}

}  // namespace

void add_cross_entropy_cases(Table& table) {
  const auto add = [&](Purpose purpose, const Form& form) {
    table.push_back({"softmax_statistics", form.name(), purpose, [=] { return statistics(form); }});
    table.push_back({"cross_entropy_backward", form.name(), purpose, [=] { return backward(form); }});
  };
  for (const DType dtype : kComputeTypes) {
    add(Purpose::test, {dtype, 5, 1, 0, 1});
    add(Purpose::test, {dtype, 17, 31, 0, 29});
    add(Purpose::test, {dtype, 9, 64, 64, 128});
    add(Purpose::test, {dtype, 9, 100, 200, 201});
    add(Purpose::test, {dtype, 70, 4099, 4099, 8190});
    add(Purpose::test, {dtype, 0, 10, 0, 10});
    add(Purpose::benchmark, {dtype, 2048, 50304, 0, 50257});
    add(Purpose::benchmark, {dtype, 4096, 8192, 0, 8192});
  }
}

}  // namespace triax::harness
