#include "triax/kernel_cases/attention_reference.h"
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
  edit(weight, [&](const Tensor& w) {
    for (int64_t i = 0; i < f.n; i += 3) w.data<float>()[i] = 0;
  });
  p->run = [=](const Context& context) {
    cross_entropy_backward(context, logits, targets, f.start, f.size, lse, weight);
  };
  p->reference = [f](Values& v) {
    reference::cross_entropy_backward(f.n, f.columns, f.start, f.size, v["logits"], v["targets"],
                                      v["lse"], v["weight"]);
  };
  return p;
}

std::unique_ptr<Problem> losses(int64_t n) {
  auto p = std::make_unique<Problem>(43);
  const Tensor max = p->in_out("max", {n}, DType::f32), sum = p->in_out("sum", {n}, DType::f32, 0.1, 5);
  const Tensor target = p->input("target", {n}, DType::f32), weight = p->input("weight", {n}, DType::f32);
  const Tensor result = p->output("losses", {n}, DType::f32);
  p->run = [=](const Context& context) { token_losses(context, max, sum, target, weight, 8.0f, result); };
  p->reference = [n](Values& v) {
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      v["max"][i] += std::log(v["sum"][i]);
      v["losses"][i] = v["max"][i] - v["target"][i];
      v["sum"][i] = 8 * v["weight"][i];
    }
  };
  return p;
}

std::unique_ptr<Problem> rescaling(int64_t n) {
  auto p = std::make_unique<Problem>(44);
  const Tensor from = p->input("from", {n}, DType::f32), to = p->input("to", {n}, DType::f32);
  const Tensor sum = p->in_out("sum", {n}, DType::f32, 0.1, 5);
  p->run = [=](const Context& context) { rescale_sums(context, from, to, sum); };
  p->reference = [n](Values& v) {
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) v["sum"][i] *= std::exp(v["from"][i] - v["to"][i]);
  };
  return p;
}

std::unique_ptr<Problem> weighted(int64_t n) {
  auto p = std::make_unique<Problem>(45);
  const Tensor weights = p->input("weights", {n}, DType::f32), values = p->input("values", {n}, DType::f32, 1, 3);
  for (const auto& [tensor, value] : {std::pair{weights, 0.0f}, {values, 1e30f}})
    edit(tensor, [&, v = value](const Tensor& x) {
      for (int64_t i = 0; i < n; i += 2) x.data<float>()[i] = v;
    });
  const Tensor result = p->output("result", {1}, DType::f32);
  p->run = [=](const Context& context) {
    const double sum = weighted_sum(context, weights, values);
    edit(result, [&](const Tensor& r) { r.data<float>()[0] = static_cast<float>(sum); });
  };
  p->reference = [n](Values& v) {
    double sum = 0;
    for (size_t i = 1; i < static_cast<size_t>(n); i += 2) sum += v["weights"][i] * v["values"][i];
    v["result"] = {sum};
  };
  return p;
}

}  // namespace

void add_cross_entropy_cases(Table& table) {
  for (const int64_t n : {0, 1, 9, 1000}) {
    const std::string size = fmt::format("n={}", n);
    table.push_back({"token_losses", size, Purpose::test, [n] { return losses(n); }});
    table.push_back({"rescale_sums", size, Purpose::test, [n] { return rescaling(n); }});
    table.push_back({"weighted_sum", size, Purpose::test, [n] { return weighted(n); }});
  }
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
    if (dtype == DType::bf16) add(Purpose::gpu_benchmark, {dtype, 2048, 50304, 0, 50257});
  }
}

}  // namespace triax::harness
