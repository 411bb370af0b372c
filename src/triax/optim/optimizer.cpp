#include "triax/optim/optimizer.h"

#include <cmath>

#include "triax/kernels/adamw.h"
#include "triax/kernels/elementwise.h"

namespace triax {

GradientNorm gradient_norm(const Context& context, const Parameters& parameters) {
  GradientNorm result;
  double squares = 0;
  const auto count = static_cast<int>(parameters.table().specs().size());
  for (int index = 0; index < count; ++index) {
    const double part = sum_of_squares(context, parameters.gradient(index));
    if (!std::isfinite(part) && result.not_finite.empty())
      result.not_finite = parameters.table()[index].name;
    squares += part;
  }
  result.norm = std::sqrt(squares);
  return result;
}

Optimizer::Optimizer(Parameters& parameters, const AdamWConfig& config)
    : parameters_(&parameters), config_(config) {
  const auto& specs = parameters.table().specs();
  for (size_t i = 0; i < specs.size(); ++i) {
    const int64_t end = i + 1 < specs.size() ? specs[i + 1].begin : parameters.table().flat_size();
    if (!ranges_.empty() && ranges_.back().weight_decay == specs[i].weight_decay) {
      ranges_.back().end = end;
    } else {
      ranges_.push_back({specs[i].begin, end, specs[i].weight_decay});
    }
  }
  const size_t bytes = static_cast<size_t>(parameters.table().flat_size()) * sizeof(float);
  moment1_ = Buffer(bytes);
  moment2_ = Buffer(bytes);
}

void Optimizer::step(const Context& context, double learning_rate, double gradient_scale) {
  ++steps_done_;
  const int64_t size = parameters_->table().flat_size();
  const Tensor m(moment1_.data(), {size}, DType::f32), v(moment2_.data(), {size}, DType::f32);
  const Tensor copy = parameters_->flat_copy();
  for (const Range& range : ranges_) {
    const auto part = [&](const Tensor& x) {
      return x.defined() ? x.narrow(0, range.begin, range.end - range.begin) : x;
    };
    const AdamWStep step{.learning_rate = static_cast<float>(learning_rate),
                         .beta1 = static_cast<float>(config_.beta1),
                         .beta2 = static_cast<float>(config_.beta2),
                         .epsilon = static_cast<float>(config_.epsilon),
                         .weight_decay = static_cast<float>(range.weight_decay ? config_.weight_decay : 0),
                         .step = steps_done_,
                         .gradient_scale = static_cast<float>(gradient_scale)};
    adamw_update(context, step, part(parameters_->flat_master()), part(parameters_->flat_gradient()),
                 part(m), part(v), part(copy));
  }
}

Tensor Optimizer::moment(const Buffer& buffer, int index) const {
  const ParameterSpec& spec = parameters_->table()[index];
  return {static_cast<float*>(buffer.data()) + spec.begin, spec.shape, DType::f32};
}

}  // namespace triax
