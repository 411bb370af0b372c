#include "triax/kernel_cases/reference.h"
#include "triax/kernels/layernorm.h"

namespace triax::harness {
namespace {

constexpr float kEpsilon = 1e-5f;

struct Form {
  DType dtype;
  int64_t n, h, padding = 0;
  double offset = 0;        // of the mean of x from zero, to see cancellation
  bool statistics = true;   // forward: mean and rstd are asked for
  bool accumulate = false;  // backward: dx +=
  bool in_place = false;    // backward: dx is dy
  std::string name() const {
    return fmt::format("{} n={} h={} padding={} offset={}{}{}{}", name_of(dtype), n, h, padding,
                       offset, statistics ? "" : " no-statistics", accumulate ? " accumulate" : "",
                       in_place ? " in-place" : "");
  }
};

std::unique_ptr<Problem> forward(const Form& f) {
  auto p = std::make_unique<Problem>(11, f.padding);
  const Tensor x = p->input("x", {f.n, f.h}, f.dtype, 2, f.offset);
  const Tensor gamma = p->input("gamma", {f.h}, DType::f32, 0.2, 1);
  const Tensor beta = p->input("beta", {f.h}, DType::f32);
  const Tensor y = p->output("y", {f.n, f.h}, f.dtype);
  Tensor mean, rstd;
  if (f.statistics) {
    mean = p->output("mean", {f.n}, DType::f32);
    rstd = p->output("rstd", {f.n}, DType::f32);
  }
  p->run = [=](const Context& context) {
    layernorm_forward(context, x, gamma, beta, kEpsilon, y, mean, rstd);
  };
  p->reference = [f](Values& v) {
    auto out = reference::layernorm(f.n, f.h, v["x"], v["gamma"], v["beta"], kEpsilon);
    v["y"] = out.y, v["mean"] = out.mean, v["rstd"] = out.rstd;
  };
  // An offset of the mean costs as many bits of x - mean as it has itself.
  p->tolerance = 2e-6 * std::max(1.0, std::abs(f.offset));
  return p;
}

std::unique_ptr<Problem> backward(const Form& f) {
  auto p = std::make_unique<Problem>(12, f.padding);
  const Tensor dy =
      f.in_place ? p->in_out("dy", {f.n, f.h}, f.dtype) : p->input("dy", {f.n, f.h}, f.dtype);
  const Tensor x = p->input("x", {f.n, f.h}, f.dtype, 2, f.offset);
  const Tensor gamma = p->input("gamma", {f.h}, DType::f32, 0.2, 1);
  const Tensor mean = p->input("mean", {f.n}, DType::f32, 0.1, f.offset);
  const Tensor rstd = p->input("rstd", {f.n}, DType::f32, 0.01, 0.5);
  const Tensor dx = f.in_place     ? dy
                    : f.accumulate ? p->in_out("dx", {f.n, f.h}, f.dtype)
                                   : p->output("dx", {f.n, f.h}, f.dtype);
  const Tensor dgamma = p->in_out("dgamma", {f.h}, DType::f32);
  const Tensor dbeta = p->in_out("dbeta", {f.h}, DType::f32);
  p->run = [=](const Context& context) {
    layernorm_backward(context, dy, x, gamma, mean, rstd, dx, f.accumulate, dgamma, dbeta);
  };
  p->reference = [f](Values& v) {
    const auto out =
        reference::layernorm_backward(f.n, f.h, v["dy"], v["x"], v["gamma"], v["mean"], v["rstd"]);
    Vector& result = v[f.in_place ? "dy" : "dx"];
    for (size_t i = 0; i < result.size(); ++i)
      result[i] = out.dx[i] + (f.accumulate ? result[i] : 0);
    for (size_t j = 0; j < out.dgamma.size(); ++j)
      v["dgamma"][j] += out.dgamma[j], v["dbeta"][j] += out.dbeta[j];
  };
  p->tolerance = 4e-6 * std::max(1.0, std::abs(f.offset));
  return p;
}

}  // namespace

void add_layernorm_cases(Table& table) {
  const auto add = [&](Purpose purpose, bool is_forward, const Form& form) {
    table.push_back({is_forward ? "layernorm_forward" : "layernorm_backward", form.name(), purpose,
                     [=] { return is_forward ? forward(form) : backward(form); }});
  };
  for (const DType dtype : kComputeTypes) {
    const std::vector<Form> common = {{dtype, 1, 1},
                                      {dtype, 3, 5},
                                      {dtype, 0, 8},
                                      {dtype, 7, 64},
                                      {dtype, 130, 33, 3},
                                      {dtype, 300, 384, 0, 3},
                                      {dtype, 5, 1600, 16, -20},
                                      {dtype, 2, 20001}};
    for (const bool is_forward : {true, false})
      for (const Form& form : common) add(Purpose::test, is_forward, form);
    add(Purpose::test, true, {.dtype = dtype, .n = 9, .h = 100, .statistics = false});
    // One width for each way in which a GPU shares a row between warps, and one too wide for that.
    for (const int64_t h : {700, 1024, 1400, 2304, 4096, 5000, 6400})
      add(Purpose::test, false, {.dtype = dtype, .n = 13, .h = h, .accumulate = h == 6400});
    add(Purpose::test, false,
        {.dtype = dtype, .n = 77, .h = 100, .padding = 4, .accumulate = true});
    add(Purpose::test, false, {.dtype = dtype, .n = 300, .h = 100, .in_place = true});
    for (const bool is_forward : {true, false}) {
      add(Purpose::benchmark, is_forward, {dtype, 4096, 384});
      add(Purpose::benchmark, is_forward, {dtype, 2048, 768});
      if (dtype == DType::bf16) {
        add(Purpose::gpu_benchmark, is_forward, {dtype, 16384, 768});
        add(Purpose::gpu_benchmark, is_forward, {dtype, 8192, 4096});
      }
    }
  }
}

}  // namespace triax::harness
