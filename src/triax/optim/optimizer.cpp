#include "triax/optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "triax/base/hash.h"
#include "triax/kernels/adamw.h"
#include "triax/kernels/elementwise.h"

namespace triax {

namespace {

// What of a parameter this rank owns: elements [begin, begin + size) of the flat layout, in one of the owned ranges.
struct OwnedPiece {
  const ParameterSpec* spec;
  const OwnedRange* range;
  int64_t begin, size;
};

std::vector<OwnedPiece> owned_pieces(const Parameters& parameters) {
  std::vector<OwnedPiece> pieces;
  for (const ParameterSpec& spec : parameters.table().specs())
    for (const OwnedRange& range : parameters.owned()) {
      const int64_t begin = std::max(spec.begin, range.begin);
      const int64_t end = std::min(spec.begin + spec.numel(), range.begin + range.size);
      if (begin < end) pieces.push_back({&spec, &range, begin, end - begin});
    }
  return pieces;
}

// Boxes are cut along one axis: what is before it are rows, the rest columns.
RoundingPlace place_of(const OwnedPiece& piece) {
  const ParameterSpec& spec = *piece.spec;
  RoundingPlace place{.stream = static_cast<uint32_t>(hash64(spec.name)), .first = piece.begin - spec.begin, .width = 1, .global_width = 1};
  int axis = spec.shape.rank() - 1;
  while (axis > 0 && spec.shape[axis] == spec.global_shape[axis]) place.width *= spec.shape[axis--];
  place.global_width = place.width * spec.global_shape[axis];
  place.offset = place.width * spec.offset[axis];
  place.width *= spec.shape[axis];
  return place;
}

}  // namespace

GradientSquares gradient_squares(const Context& context, const Parameters& parameters, bool counts_whole) {
  std::vector<Tensor> parts;
  std::vector<const ParameterSpec*> specs;
  for (const ParameterSpec& spec : parameters.table().specs()) {
    if (spec.tied_copy || (!spec.split && !counts_whole)) continue;
    const ParameterUnit& unit = parameters.table().units()[static_cast<size_t>(spec.unit)];
    const Segment mine = parameters.shard(unit.segments[spec.matrix ? 0 : 1]);  // of what data-parallel ranks may all own
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
  const size_t bytes = parameters.with_gradients() ? static_cast<size_t>(parameters.owned_size()) * sizeof(float) : 0;
  moment1_ = Buffer(bytes, parameters.device(), "optimizer (Adam m, v)");
  moment2_ = Buffer(bytes, parameters.device(), "optimizer (Adam m, v)");
}

void Optimizer::step(const Context& context, double learning_rate, double gradient_scale) {
  step(context, std::vector<double>(parameters_->table().units().size(), learning_rate), gradient_scale);
}

void Optimizer::step(const Context& context, std::span<const double> learning_rates, double gradient_scale) {
  ++steps_done_;
  std::vector<AdamWRange> ranges;
  const auto add = [&](const OwnedRange& range, int64_t begin, int64_t size, const RoundingPlace& place) {
    const Tensor copy = parameters_->copy(range);
    ranges.push_back({.learning_rate = static_cast<float>(learning_rates[static_cast<size_t>(range.unit)]),
                      .weight_decay = static_cast<float>(range.matrices ? config_.weight_decay : 0),
                      .param = parameters_->master_at(begin, size),
                      .grad = parameters_->gradient_at(begin, size),
                      .m = moment1_at(begin, size),
                      .v = moment2_at(begin, size),
                      .copy = copy.defined() ? copy.narrow(0, begin - range.begin, size) : copy,
                      .place = place});
  };
  if (config_.stochastic_rounding) {  // parameter by parameter, which have a place each
    for (const OwnedPiece& piece : owned_pieces(*parameters_))
      add(*piece.range, piece.begin, piece.size, piece.range->matrices ? place_of(piece) : RoundingPlace{});
  } else {
    for (const OwnedRange& range : parameters_->owned()) add(range, range.begin, range.size, {});
  }
  adamw_update(context, adamw_step(gradient_scale), ranges);
}

void Optimizer::refresh_copies(const Context& context) const {
  if (parameters_->compute_type() == DType::f32) return;
  std::vector<AdamWRange> ranges;
  for (const OwnedPiece& piece : owned_pieces(*parameters_)) {
    const bool rounds = config_.stochastic_rounding && piece.range->matrices && steps_done_ > 0;
    ranges.push_back({.param = parameters_->master_at(piece.begin, piece.size), .grad = {}, .m = {}, .v = {},
                      .copy = parameters_->copy(*piece.range).narrow(0, piece.begin - piece.range->begin, piece.size),
                      .place = rounds ? place_of(piece) : RoundingPlace{}});
  }
  adamw_update(context, adamw_step(1), ranges);
}

AdamWStep Optimizer::adamw_step(double gradient_scale) const {
  return {.beta1 = static_cast<float>(config_.beta1),
          .beta2 = static_cast<float>(config_.beta2),
          .epsilon = static_cast<float>(config_.epsilon),
          .step = std::max<int64_t>(steps_done_, 1),
          .gradient_scale = static_cast<float>(gradient_scale),
          .stochastic_rounding = config_.stochastic_rounding,
          .seed = config_.seed};
}

Tensor Optimizer::moment_at(const Buffer& buffer, int64_t begin, int64_t size) const {
  return {static_cast<float*>(buffer.data()) + parameters_->owned_offset(begin), {size}, DType::f32,
          buffer.device()};
}

}  // namespace triax
