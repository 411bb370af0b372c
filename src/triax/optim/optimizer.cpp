#include "triax/optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "triax/kernels/adamw.h"
#include "triax/kernels/elementwise.h"

namespace triax {

GradientSquares gradient_squares(const Context& context, const Parameters& parameters, bool counts_whole) {
  std::vector<Tensor> parts;
  std::vector<const ParameterSpec*> specs;
  for (const ParameterSpec& spec : parameters.table().specs()) {
    if (spec.tied_copy || (!spec.split && !counts_whole)) continue;
    const ParameterUnit& unit = parameters.table().units()[static_cast<size_t>(spec.unit)];
    const Segment mine = parameters.shard(unit.segments[spec.matrix ? 0 : 1]);
    const int64_t begin = std::max(spec.begin, mine.begin);
    const int64_t end = std::min(spec.begin + spec.numel(), mine.begin + mine.size);
    if (begin >= end) continue;
    parts.push_back(parameters.gradient_at(begin, end - begin));
    specs.push_back(&spec);
  }
  std::vector<double> sums(parts.size());
  sums_of_squares(context, parts, sums);
  GradientSquares result;
  for (size_t i = 0; i < sums.size(); ++i) {
    if (!std::isfinite(sums[i]) && result.not_finite.empty()) result.not_finite = specs[i]->name;
    result.sum += sums[i];
  }
  return result;
}

size_t Optimizer::bytes(const ParameterTable& table, const Sharding& sharding) {
  const auto all = 2 * static_cast<size_t>(table.flat_size()) * sizeof(float);
  return sharding.state() ? all / static_cast<size_t>(sharding.size) : all;
}

Optimizer::Optimizer(const Parameters& parameters, const AdamWConfig& config)
    : parameters_(&parameters), config_(config) {
  const size_t bytes = static_cast<size_t>(parameters.owned_size()) * sizeof(float);
  moment1_ = Buffer(bytes, parameters.device(), "optimizer (Adam m, v)");
  moment2_ = Buffer(bytes, parameters.device(), "optimizer (Adam m, v)");
}

void Optimizer::step(const Context& context, double learning_rate, double gradient_scale) {
  step(context, std::vector<double>(parameters_->table().units().size(), learning_rate), gradient_scale);
}

void Optimizer::step(const Context& context, std::span<const double> learning_rates, double gradient_scale) {
  ++steps_done_;
  const AdamWStep step{.beta1 = static_cast<float>(config_.beta1),
                       .beta2 = static_cast<float>(config_.beta2),
                       .epsilon = static_cast<float>(config_.epsilon),
                       .step = steps_done_,
                       .gradient_scale = static_cast<float>(gradient_scale)};
  std::vector<AdamWRange> ranges;
  for (const OwnedRange& range : parameters_->owned())
    ranges.push_back({.learning_rate = static_cast<float>(learning_rates[static_cast<size_t>(range.unit)]),
                      .weight_decay = static_cast<float>(range.matrices ? config_.weight_decay : 0),
                      .param = parameters_->master(range),
                      .grad = parameters_->gradient(range),
                      .m = moment1_at(range.begin, range.size),
                      .v = moment2_at(range.begin, range.size),
                      .copy = parameters_->copy(range)});
  adamw_update(context, step, ranges);
}

Tensor Optimizer::moment_at(const Buffer& buffer, int64_t begin, int64_t size) const {
  return {static_cast<float*>(buffer.data()) + parameters_->owned_offset(begin), {size}, DType::f32,
          buffer.device()};
}

}  // namespace triax
