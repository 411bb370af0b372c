// AdamW over what a rank owns of a model's flat parameters, with clipping by the global norm (Pascanu et
// al. 2013).
#pragma once

#include <span>
#include <string>

#include "triax/kernels/adamw.h"
#include "triax/nn/parameters.h"

namespace triax {

struct AdamWConfig {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1;
  bool stochastic_rounding = false;  // of bf16 weights from their f32 masters, by `seed` and the step
  uint64_t seed = 0;
};

// This rank's part in the global norm: every element of the model is counted by exactly one rank, so that
// the sums over all ranks are the whole.
struct GradientSquares {
  double sum = 0;          // not finite if any gradient is not
  std::string not_finite;  // the first parameter with such a gradient; empty when all are finite
};
// `counts_whole`: on one rank of each tensor-parallel group, which counts what all of them hold whole.
GradientSquares gradient_squares(const Context& context, const Parameters& parameters, bool counts_whole);

// Of parameters without gradients it keeps no moments and makes no step.
class Optimizer {
 public:
  Optimizer(const Parameters& parameters, const AdamWConfig& config);

  // One update from the gradients times `gradient_scale`; the gradients are left as they are.
  void step(const Context& context, double learning_rate, double gradient_scale);
  // The same with a learning rate for each unit of the table.
  void step(const Context& context, std::span<const double> learning_rates, double gradient_scale);

  // The weights that kernels read, from the masters, as the last step left them.
  void refresh_copies(const Context& context) const;

  int64_t steps_done() const { return steps_done_; }
  void set_steps_done(int64_t steps) { steps_done_ = steps; }
  // First and second moment of elements [begin, begin + size) of the flat layout, which must be owned.
  Tensor moment1_at(int64_t begin, int64_t size) const { return moment_at(moment1_, begin, size); }
  Tensor moment2_at(int64_t begin, int64_t size) const { return moment_at(moment2_, begin, size); }
  // Bytes of the moments.
  static size_t bytes(const ParameterTable& table, const Sharding& sharding);

 private:
  AdamWStep adamw_step(double gradient_scale) const;
  Tensor moment_at(const Buffer& buffer, int64_t begin, int64_t size) const;
  const Parameters* parameters_;
  AdamWConfig config_;
  Buffer moment1_, moment2_;
  int64_t steps_done_ = 0;
};

}  // namespace triax
