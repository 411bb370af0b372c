#include "triax/kernel_cases/reference.h"
#include "triax/kernels/device_queue.h"
#include "triax/kernels/linear.h"

namespace triax::harness {
namespace {

struct Form {
  DType dtype;
  int64_t n, in, out, padding = 0;
  bool bias = true;         // or dbias
  bool accumulate = false;  // backward_input: dx +=
  Activation activation = Activation::gelu_tanh;
  bool float8 = false;  // within a layer of a device that multiplies FP8
  std::string name() const {
    return fmt::format("{} n={} in={} out={} padding={}{}{}", float8 ? "fp8" : name_of(dtype), n, in, out, padding,
                       bias ? "" : " no-bias", accumulate ? " accumulate" : "");
  }
  double product_flops() const {
    return 2.0 * static_cast<double>(n) * static_cast<double>(in) * static_cast<double>(out);
  }
  // Sums of `terms` products in f32, relative to the largest result.
  double tolerance(int64_t terms) const {
    return 2e-7 * std::sqrt(static_cast<double>(terms)) + 2e-6;
  }
};

// An operand as it is multiplied.
Vector operand(const Form& f, const Vector& x, Float8 format) { return f.float8 ? reference::float8_rounded(x, format) : x; }

// The same call within a layer, of which the queue has memory for FP8.
void multiply_in_float8(const Form& f, Problem& p) {
  auto memory = std::make_shared<Buffer>(float8_bytes(f.n, f.in, f.out), target().device);
  p.run = [memory, run = p.run](const Context& context) {
    context.queue->float8 = {memory->data(), memory->bytes()};
    run({.device = context.device, .queue = context.queue, .in_layer = true});
    context.queue->float8 = {};
  };
}

double weight_spread(const Form& f) {
  return 1 / std::sqrt(static_cast<double>(f.in + 1));
}

void add_bias(const Form& f, Values& v, Vector& y) {
  for (size_t i = 0; f.bias && i < y.size(); ++i) y[i] += v["bias"][i % static_cast<size_t>(f.out)];
}

std::unique_ptr<Problem> forward(const Form& f) {
  auto p = std::make_unique<Problem>(21, f.padding);
  const Tensor x = p->input("x", {f.n, f.in}, f.dtype);
  const Tensor weight = p->input("weight", {f.out, f.in}, f.dtype, weight_spread(f));
  const Tensor bias = f.bias ? p->input("bias", {f.out}, DType::f32) : Tensor{};
  const Tensor y = p->output("y", {f.n, f.out}, f.dtype);
  p->run = [=](const Context& context) { linear_forward(context, x, weight, bias, y); };
  p->reference = [f](Values& v) {
    Vector y_values(v["y"].size());
    reference::add_product(false, true, f.n, f.out, f.in, operand(f, v["x"], Float8::e4m3), operand(f, v["weight"], Float8::e4m3), y_values);
    add_bias(f, v, y_values);
    v["y"] = y_values;
  };
  p->tolerance = f.tolerance(f.in);
  p->roundings = f.bias ? 4 : 2;  // the largest biases
  p->flops = f.product_flops();
  return p;
}

std::unique_ptr<Problem> activation_forward(const Form& f) {
  auto p = std::make_unique<Problem>(22, f.padding);
  const Tensor x = p->input("x", {f.n, f.in}, f.dtype);
  const Tensor weight = p->input("weight", {f.out, f.in}, f.dtype, weight_spread(f));
  const Tensor bias = f.bias ? p->input("bias", {f.out}, DType::f32) : Tensor{};
  const Tensor pre = p->output("pre", {f.n, f.out}, f.dtype);
  const Tensor y = p->output("y", {f.n, f.out}, f.dtype);
  p->run = [=](const Context& context) {
    linear_activation_forward(context, x, weight, bias, f.activation, pre, y);
  };
  p->reference = [f](Values& v) {
    Vector pre_values(v["pre"].size());
    reference::add_product(false, true, f.n, f.out, f.in, operand(f, v["x"], Float8::e4m3), operand(f, v["weight"], Float8::e4m3), pre_values);
    add_bias(f, v, pre_values);
    for (size_t i = 0; i < pre_values.size(); ++i)
      v["y"][i] = reference::activation(f.activation, pre_values[i]);
    v["pre"] = pre_values;
  };
  p->tolerance = f.tolerance(f.in);
  p->roundings = f.bias ? 4 : 2;  // the largest biases
  p->flops = f.product_flops();
  return p;
}

std::unique_ptr<Problem> backward_input(const Form& f) {
  auto p = std::make_unique<Problem>(23, f.padding);
  const Tensor dy = p->input("dy", {f.n, f.out}, f.dtype);
  const Tensor weight = p->input("weight", {f.out, f.in}, f.dtype, weight_spread(f));
  const Tensor dx =
      f.accumulate ? p->in_out("dx", {f.n, f.in}, f.dtype) : p->output("dx", {f.n, f.in}, f.dtype);
  p->run = [=](const Context& context) {
    linear_backward_input(context, dy, weight, dx, f.accumulate);
  };
  p->reference = [f](Values& v) {
    if (!f.accumulate) v["dx"].assign(v["dx"].size(), 0);
    reference::add_product(false, false, f.n, f.in, f.out, operand(f, v["dy"], Float8::e5m2), operand(f, v["weight"], Float8::e4m3), v["dx"]);
  };
  p->tolerance = f.tolerance(f.out);
  p->flops = f.product_flops();
  return p;
}

std::unique_ptr<Problem> activation_backward_input(const Form& f) {
  auto p = std::make_unique<Problem>(24, f.padding);
  const Tensor dy = p->input("dy", {f.n, f.out}, f.dtype);
  const Tensor weight = p->input("weight", {f.out, f.in}, f.dtype, weight_spread(f));
  const Tensor pre = p->input("pre", {f.n, f.in}, f.dtype);
  const Tensor dpre = p->output("dpre", {f.n, f.in}, f.dtype);
  p->run = [=](const Context& context) {
    linear_activation_backward_input(context, dy, weight, pre, f.activation, dpre);
  };
  p->reference = [f](Values& v) {
    v["dpre"].assign(v["dpre"].size(), 0);
    reference::add_product(false, false, f.n, f.in, f.out, operand(f, v["dy"], Float8::e5m2), operand(f, v["weight"], Float8::e4m3), v["dpre"]);
    for (size_t i = 0; i < v["dpre"].size(); ++i)
      v["dpre"][i] *= reference::activation_slope(f.activation, v["pre"][i]);
  };
  p->tolerance = f.tolerance(f.out);
  p->roundings = 3 * std::sqrt(static_cast<double>(f.out) / static_cast<double>(f.in));
  p->flops = f.product_flops();
  return p;
}

std::unique_ptr<Problem> backward_weight(const Form& f) {
  auto p = std::make_unique<Problem>(25, f.padding);
  const Tensor dy = p->input("dy", {f.n, f.out}, f.dtype);
  const Tensor x = p->input("x", {f.n, f.in}, f.dtype);
  const Tensor dweight = p->in_out("dweight", {f.out, f.in}, DType::f32);
  const Tensor dbias = f.bias ? p->in_out("dbias", {f.out}, DType::f32) : Tensor{};
  p->run = [=](const Context& context) { linear_backward_weight(context, dy, x, dweight, dbias); };
  p->reference = [f](Values& v) {
    reference::add_product(true, false, f.out, f.in, f.n, operand(f, v["dy"], Float8::e5m2), operand(f, v["x"], Float8::e4m3), v["dweight"]);
    for (size_t i = 0; f.bias && i < v["dy"].size(); ++i)
      v["dbias"][i % static_cast<size_t>(f.out)] += v["dy"][i];
  };
  p->tolerance = f.tolerance(f.n);
  p->flops = f.product_flops();
  return p;
}

std::unique_ptr<Problem> product(DType dtype, DType out, bool transpose_a, bool transpose_b,
                                 int64_t m, int64_t n, int64_t k, float beta, int64_t padding) {
  auto p = std::make_unique<Problem>(26, padding);
  const Tensor a = p->input("a", transpose_a ? Shape{k, m} : Shape{m, k}, dtype);
  const Tensor b = p->input("b", transpose_b ? Shape{n, k} : Shape{k, n}, dtype);
  const Tensor c = beta != 0 ? p->in_out("c", {m, n}, out) : p->output("c", {m, n}, out);
  p->run = [=](const Context& context) { gemm(context, transpose_a, transpose_b, a, b, beta, c); };
  p->reference = [=](Values& v) {
    if (beta == 0) v["c"].assign(v["c"].size(), 0);
    reference::add_product(transpose_a, transpose_b, m, n, k, v["a"], v["b"], v["c"]);
  };
  p->tolerance = 2e-7 * std::sqrt(static_cast<double>(k)) + 2e-6;
  p->flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  return p;
}

struct LinearOperation {
  const char* name;
  std::unique_ptr<Problem> (*build)(const Form&);
};

constexpr LinearOperation kOperations[] = {
    {"linear_forward", forward},
    {"linear_activation_forward", activation_forward},
    {"linear_backward_input", backward_input},
    {"linear_activation_backward_input", activation_backward_input},
    {"linear_backward_weight", backward_weight}};

void add_products(Table& table) {
  for (const auto& [dtype, out] :
       {std::pair{DType::f32, DType::f32}, {DType::bf16, DType::bf16}, {DType::bf16, DType::f32},
        {DType::f16, DType::f16}, {DType::f16, DType::f32}})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const auto& [m, n, k] : {std::tuple{1, 1, 1},
                                      {3, 0, 2},
                                      {5, 7, 0},
                                      {37, 65, 19},
                                      {1, 700, 900},
                                      {250, 300, 410}})
          for (const float beta : {0.0f, 1.0f}) {
            const int64_t padding = m == 37 ? 5 : 0;
            table.push_back(
                {"gemm",
                 fmt::format("{}->{} {}{} m={} n={} k={} beta={} padding={}", name_of(dtype),
                             name_of(out), ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, beta, padding),
                 Purpose::test, [=, d = dtype, o = out, mm = m, nn = n, kk = k] {
                   return product(d, o, ta, tb, mm, nn, kk, beta, padding);
                 }});
          }
}

}  // namespace

void add_linear_cases(Table& table) {
  add_products(table);
  for (const auto& operation : kOperations)
    for (const DType dtype : kComputeTypes) {
      const auto add = [&](Purpose purpose, const Form& form) {
        table.push_back({operation.name, form.name(), purpose,
                         [form, build = operation.build] {
                           auto p = build(form);
                           if (form.float8) multiply_in_float8(form, *p);
                           return p;
                         }});
      };
      add(Purpose::test, {dtype, 1, 1, 1});
      add(Purpose::test, {dtype, 0, 4, 4});
      add(Purpose::test, {dtype, 3, 17, 9, 3});
      add(Purpose::test, {dtype, 130, 48, 96});
      add(Purpose::test, {.dtype = dtype,
                          .n = 65,
                          .in = 33,
                          .out = 50,
                          .padding = 1,
                          .bias = false,
                          .accumulate = true,
                          .activation = Activation::gelu_erf});
      add(Purpose::test, {dtype, 600, 200, 500});
      add(Purpose::test, {dtype, 2, 500, 1000});
      for (const auto& [n, h] : {std::pair<int64_t, int64_t>{4096, 384}, {2048, 768}}) {
        add(Purpose::benchmark, {dtype, n, h, 3 * h});
        add(Purpose::benchmark, {dtype, n, h, h});
        add(Purpose::benchmark, {dtype, n, h, 4 * h});
        add(Purpose::benchmark, {dtype, n, 4 * h, h});
      }
      add(Purpose::benchmark, {.dtype = dtype, .n = 4096, .in = 384, .out = 8192, .bias = false});
      if (dtype != DType::bf16) continue;
      for (const auto& [n, h] : {std::pair<int64_t, int64_t>{16384, 768}, {8192, 4096}}) {
        add(Purpose::gpu_benchmark, {dtype, n, h, 3 * h});
        add(Purpose::gpu_benchmark, {dtype, n, h, 4 * h});
        add(Purpose::gpu_benchmark, {dtype, n, 4 * h, h});
      }
      add(Purpose::gpu_benchmark, {.dtype = dtype, .n = 8192, .in = 768, .out = 50304, .bias = false});
      if (!target().queue || !target().queue->has_float8) continue;
      const auto add_float8 = [&](Purpose purpose, Form form) {
        form.float8 = true;
        add(purpose, form);
      };
      add_float8(Purpose::test, {dtype, 37, 32, 48});
      add_float8(Purpose::test, {dtype, 130, 48, 96});
      add_float8(Purpose::test, {dtype, 600, 208, 512});
      add_float8(Purpose::test, {.dtype = dtype, .n = 65, .in = 80, .out = 16, .padding = 8, .bias = false, .activation = Activation::gelu_erf});
      for (const auto& [n, h] : {std::pair<int64_t, int64_t>{16384, 768}, {8192, 4096}}) {
        add_float8(Purpose::gpu_benchmark, {dtype, n, h, 3 * h});
        add_float8(Purpose::gpu_benchmark, {dtype, n, h, 4 * h});
        add_float8(Purpose::gpu_benchmark, {dtype, n, 4 * h, h});
      }
    }
}

}  // namespace triax::harness
