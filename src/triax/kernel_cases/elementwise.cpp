#include "triax/kernel_cases/reference.h"
#include "triax/kernels/elementwise.h"

namespace triax::harness {
namespace {

std::string form_name(DType dtype, const Shape& shape, int64_t padding) {
  return fmt::format("{} {} padding={}", name_of(dtype), shape.to_string(), padding);
}

const char* name_of_activation(Activation activation) {
  return activation == Activation::gelu_erf ? "gelu_erf" : "gelu_tanh";
}

std::unique_ptr<Problem> activation_forward_problem(Activation kind, DType dtype, Shape shape,
                                                    int64_t padding, bool in_place) {
  auto p = std::make_unique<Problem>(31, padding);
  const Tensor x = in_place ? p->in_out("x", shape, dtype, 3) : p->input("x", shape, dtype, 3);
  const Tensor y = in_place ? x : p->output("y", shape, dtype);
  p->run = [=](const Context& context) { activation_forward(context, kind, x, y); };
  p->reference = [=](Values& v) {
    Vector& out = v[in_place ? "x" : "y"];
    for (size_t i = 0; i < out.size(); ++i) out[i] = reference::activation(kind, v["x"][i]);
  };
  return p;
}

std::unique_ptr<Problem> activation_backward_problem(Activation kind, DType dtype, Shape shape,
                                                     int64_t padding, bool in_place) {
  auto p = std::make_unique<Problem>(32, padding);
  const Tensor x = p->input("x", shape, dtype, 3);
  const Tensor dy = in_place ? p->in_out("dy", shape, dtype) : p->input("dy", shape, dtype);
  const Tensor dx = in_place ? dy : p->output("dx", shape, dtype);
  p->run = [=](const Context& context) { activation_backward(context, kind, x, dy, dx); };
  p->reference = [=](Values& v) {
    Vector& out = v[in_place ? "dy" : "dx"];
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = v["dy"][i] * reference::activation_slope(kind, v["x"][i]);
  };
  return p;
}

std::unique_ptr<Problem> tanh_problem(bool backward, DType dtype, Shape shape, int64_t padding) {
  auto p = std::make_unique<Problem>(37, padding);
  if (!backward) {
    const Tensor x = p->in_out("x", shape, dtype);
    p->run = [=](const Context& context) { tanh_forward(context, x, x); };
    p->reference = [](Values& v) {
      for (double& value : v["x"]) value = std::tanh(value);
    };
    return p;
  }
  const Tensor y = p->input("y", shape, dtype, 0.3), dy = p->input("dy", shape, dtype), dx = p->output("dx", shape, dtype);
  p->run = [=](const Context& context) { tanh_backward(context, y, dy, dx); };
  p->reference = [](Values& v) {
    for (size_t i = 0; i < v["dx"].size(); ++i) v["dx"][i] = v["dy"][i] * (1 - v["y"][i] * v["y"][i]);
  };
  return p;
}

struct DropoutForm {
  DType dtype;
  int64_t n, h, padding = 0;
  Dropout dropout;
  bool bias = true, residual = true;
  enum class Alias { none, first, second } alias = Alias::none;  // out is x / out is residual
  std::string name() const {
    return fmt::format("{} n={} h={} padding={} p={} offsets={},{}/{}{}{} alias={}", name_of(dtype),
                       n, h, padding, dropout.probability, dropout.row_offset, dropout.col_offset,
                       dropout.total_cols, bias ? "" : " no-bias", residual ? "" : " no-residual",
                       static_cast<int>(alias));
  }
};

std::unique_ptr<Problem> dropout_forward(const DropoutForm& f) {
  using Alias = DropoutForm::Alias;
  auto p = std::make_unique<Problem>(33, f.padding);
  const Shape shape{f.n, f.h};
  const Tensor x =
      f.alias == Alias::first ? p->in_out("x", shape, f.dtype) : p->input("x", shape, f.dtype);
  const Tensor bias = f.bias ? p->input("bias", {f.h}, DType::f32) : Tensor{};
  Tensor residual;
  if (f.residual)
    residual = f.alias == Alias::second ? p->in_out("residual", shape, f.dtype)
                                        : p->input("residual", shape, f.dtype);
  const Tensor out = f.alias == Alias::first    ? x
                     : f.alias == Alias::second ? residual
                                                : p->output("out", shape, f.dtype);
  p->run = [=](const Context& context) {
    bias_dropout_residual_forward(context, x, bias, residual, f.dropout, out);
  };
  p->reference = [f](Values& v) {
    Vector& result = v[f.alias == Alias::first    ? "x"
                       : f.alias == Alias::second ? "residual"
                                                  : "out"];
    for (int64_t i = 0; i < f.n * f.h; ++i) {
      const size_t at = reference::index(i);
      const double value = v["x"][at] + (f.bias ? v["bias"][reference::index(i % f.h)] : 0);
      result[at] = (f.residual ? v["residual"][at] : 0) +
                   value * reference::dropout_factor(f.dropout, i / f.h, i % f.h, f.h);
    }
  };
  return p;
}

std::unique_ptr<Problem> dropout_backward(const DropoutForm& f) {
  using Alias = DropoutForm::Alias;
  auto p = std::make_unique<Problem>(34, f.padding);
  const Shape shape{f.n, f.h};
  const Tensor dout = f.alias == Alias::first ? p->in_out("dout", shape, f.dtype)
                                              : p->input("dout", shape, f.dtype);
  // `residual` off stands for dx not asked for, which is allowed without dropout.
  const Tensor dx = f.alias == Alias::first ? dout
                    : f.residual            ? p->output("dx", shape, f.dtype)
                                            : Tensor{};
  const Tensor dbias = f.bias ? p->in_out("dbias", {f.h}, DType::f32) : Tensor{};
  p->run = [=](const Context& context) {
    bias_dropout_residual_backward(context, dout, f.dropout, dx, dbias);
  };
  p->reference = [f](Values& v) {
    for (int64_t i = 0; i < f.n * f.h; ++i) {
      const size_t at = reference::index(i);
      const double value =
          v["dout"][at] * reference::dropout_factor(f.dropout, i / f.h, i % f.h, f.h);
      if (f.alias == Alias::first) v["dout"][at] = value;
      if (f.alias != Alias::first && f.residual) v["dx"][at] = value;
      if (f.bias) v["dbias"][reference::index(i % f.h)] += value;
    }
  };
  p->tolerance = 4e-6;
  return p;
}

std::unique_ptr<Problem> convert_problem(DType from, DType to, Shape shape, int64_t padding) {
  auto p = std::make_unique<Problem>(35, padding);
  const Tensor src = p->input("src", shape, from), dst = p->output("dst", shape, to);
  p->run = [=](const Context& context) { convert(context, src, dst); };
  p->reference = [](Values& v) { v["dst"] = v["src"]; };
  p->tolerance = 0;
  return p;
}

std::unique_ptr<Problem> fill_problem(DType dtype, Shape shape, int64_t padding) {
  auto p = std::make_unique<Problem>(36, padding);
  const Tensor x = p->output("x", shape, dtype);
  p->run = [=](const Context& context) { fill(context, x, -1.5f); };
  p->reference = [](Values& v) { v["x"].assign(v["x"].size(), -1.5); };
  p->tolerance = 0;
  return p;
}

std::unique_ptr<Problem> add_scaled_problem(DType dtype, Shape shape, int64_t padding) {
  auto p = std::make_unique<Problem>(37, padding);
  const Tensor x = p->input("x", shape, dtype), y = p->in_out("y", shape, dtype);
  p->run = [=](const Context& context) { add_scaled(context, 0.3f, x, y); };
  p->reference = [](Values& v) {
    for (size_t i = 0; i < v["y"].size(); ++i) v["y"][i] += double{0.3f} * v["x"][i];
  };
  p->tolerance = 1e-7;
  return p;
}

std::unique_ptr<Problem> scale_problem(DType dtype, Shape shape, int64_t padding) {
  auto p = std::make_unique<Problem>(38, padding);
  const Tensor x = p->in_out("x", shape, dtype);
  p->run = [=](const Context& context) { scale(context, -1.7f, x); };
  p->reference = [](Values& v) {
    for (double& x_value : v["x"]) x_value *= double{-1.7f};
  };
  p->tolerance = 1e-7;
  return p;
}

// The sum comes back as a double; the operand `sum` holds it as two floats, high and low part.
std::unique_ptr<Problem> sum_of_squares_problem(DType dtype, Shape shape, int64_t padding) {
  auto p = std::make_unique<Problem>(39, padding);
  const Tensor x = p->input("x", shape, dtype), sum = p->output("sum", {2}, DType::f32);
  p->run = [=](const Context& context) {
    const double total = sum_of_squares(context, x);
    edit(sum, [&](const Tensor& s) {
      s.data<float>()[0] = static_cast<float>(total);
      s.data<float>()[1] = static_cast<float>(total - static_cast<float>(total));
    });
  };
  p->reference = [](Values& v) {
    double total = 0;
    for (const double value : v["x"]) total += value * value;
    v["sum"] = {static_cast<float>(total), total - static_cast<float>(total)};
  };
  p->tolerance = 1e-12;
  p->traffic = static_cast<double>(x.bytes());
  return p;
}

struct Extent {
  Shape shape;
  int64_t padding;
  Purpose purpose;
};

const std::vector<Extent>& extents() {
  static const std::vector<Extent> all = {{{1}, 0, Purpose::test},
                                          {{0}, 0, Purpose::test},
                                          {{5, 3, 7}, 0, Purpose::test},
                                          {{100003}, 0, Purpose::test},
                                          {{33, 47}, 0, Purpose::test},
                                          {{129, 130}, 7, Purpose::test},
                                          {{4096, 384}, 0, Purpose::benchmark},
                                          {{2048, 3072}, 0, Purpose::benchmark},
                                          {{16384, 3072}, 0, Purpose::gpu_benchmark}};
  return all;
}

void add_activation_cases(Table& table) {
  for (const DType dtype : kComputeTypes)
    for (const Activation kind : {Activation::gelu_tanh, Activation::gelu_erf})
      for (const Extent& e : extents())
        for (const bool in_place : {false, true}) {
          if (in_place && e.purpose != Purpose::test) continue;
          const std::string name =
              fmt::format("{} {}{}", name_of_activation(kind), form_name(dtype, e.shape, e.padding),
                          in_place ? " in-place" : "");
          table.push_back({"activation_forward", name, e.purpose, [=] {
                             return activation_forward_problem(kind, dtype, e.shape, e.padding,
                                                               in_place);
                           }});
          table.push_back({"activation_backward", name, e.purpose, [=] {
                             return activation_backward_problem(kind, dtype, e.shape, e.padding,
                                                                in_place);
                           }});
        }
}

void add_dropout_cases(Table& table) {
  using Alias = DropoutForm::Alias;
  const Dropout off{}, plain{.probability = 0.1f, .seed = 5, .site = 9, .step = 3};
  Dropout sliced = plain;  // rows 1000.. and columns 50.. of a matrix of 700 columns
  sliced.row_offset = 1000, sliced.col_offset = 50, sliced.total_cols = 700;
  Dropout aligned = sliced;
  aligned.col_offset = 256, aligned.probability = 0.5f;
  const auto add = [&](Purpose purpose, const DropoutForm& form, bool backward) {
    table.push_back({backward ? "bias_dropout_residual_backward" : "bias_dropout_residual_forward",
                     form.name(), purpose,
                     [=] { return backward ? dropout_backward(form) : dropout_forward(form); }});
  };
  for (const DType dtype : kComputeTypes) {
    for (const Dropout& dropout : {off, plain, sliced, aligned})
      for (const bool backward : {false, true}) {
        add(Purpose::test, {dtype, 1, 1, 0, dropout}, backward);
        add(Purpose::test, {dtype, 0, 16, 0, dropout}, backward);
        add(Purpose::test, {dtype, 70, 131, 0, dropout}, backward);
        add(Purpose::test, {dtype, 200, 384, 5, dropout}, backward);
        add(Purpose::test, {dtype, 9, 300, 0, dropout, true, true, Alias::first}, backward);
        add(Purpose::test, {dtype, 9, 300, 0, dropout, false, true}, backward);
      }
    add(Purpose::test, {dtype, 9, 300, 0, plain, true, true, Alias::second}, false);
    add(Purpose::test, {dtype, 9, 300, 0, plain, true, false}, false);
    add(Purpose::test, {dtype, 9, 300, 0, off, true, false}, true);
    for (const bool backward : {false, true}) {
      add(Purpose::benchmark, {dtype, 4096, 384, 0, plain}, backward);
      add(Purpose::benchmark, {dtype, 2048, 768, 0, plain}, backward);
      add(Purpose::benchmark, {dtype, 2048, 768, 0, off}, backward);
      if (dtype == DType::bf16) {
        add(Purpose::gpu_benchmark, {dtype, 16384, 768, 0, plain}, backward);
        add(Purpose::gpu_benchmark, {dtype, 8192, 4096, 0, off}, backward);
      }
    }
  }
}

}  // namespace

void add_elementwise_cases(Table& table) {
  add_activation_cases(table);
  add_dropout_cases(table);
  for (const Extent& e : extents()) {
    const auto add = [&](const char* name, const std::string& variant, auto build) {
      table.push_back({name, variant, e.purpose, build});
    };
    for (const DType from : kComputeTypes) {
      for (const DType to : kComputeTypes)
        add("convert",
            fmt::format("to-{} from-{}", name_of(to), form_name(from, e.shape, e.padding)),
            [=] { return convert_problem(from, to, e.shape, e.padding); });
      add("fill", form_name(from, e.shape, e.padding),
          [=] { return fill_problem(from, e.shape, e.padding); });
    }
    for (const DType dtype : kComputeTypes) {
      const std::string name = form_name(dtype, e.shape, e.padding);
      add("add_scaled", name, [=] { return add_scaled_problem(dtype, e.shape, e.padding); });
      add("scale", name, [=] { return scale_problem(dtype, e.shape, e.padding); });
      for (const bool backward : {false, true})
        add(backward ? "tanh_backward" : "tanh_forward", name, [=] { return tanh_problem(backward, dtype, e.shape, e.padding); });
      add("sum_of_squares", name,
          [=] { return sum_of_squares_problem(dtype, e.shape, e.padding); });
    }
  }
}

}  // namespace triax::harness
