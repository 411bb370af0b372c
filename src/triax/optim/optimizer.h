// AdamW over a model's flat parameters, with clipping by the global norm (Pascanu et al. 2013).
#pragma once

#include <string>
#include <vector>

#include "triax/nn/parameters.h"

namespace triax {

struct AdamWConfig {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1;
};

// Norm of all gradients, and the first parameter whose gradient is not finite, if any.
struct GradientNorm {
  double norm = 0;
  std::string not_finite;  // its name; empty when all are finite
};
GradientNorm gradient_norm(const Context& context, const Parameters& parameters);

class Optimizer {
 public:
  Optimizer(Parameters& parameters, const AdamWConfig& config);

  // One update from the gradients times `gradient_scale`; the gradients are left as they are.
  void step(const Context& context, double learning_rate, double gradient_scale);

  int64_t steps_done() const { return steps_done_; }
  void set_steps_done(int64_t steps) { steps_done_ = steps; }
  // First and second moment of one parameter, for checkpoints.
  Tensor moment1(int index) const { return moment(moment1_, index); }
  Tensor moment2(int index) const { return moment(moment2_, index); }
  size_t bytes() const { return moment1_.bytes() + moment2_.bytes(); }

 private:
  // A run of neighbouring parameters in the flat layout that share their weight decay.
  struct Range {
    int64_t begin = 0, end = 0;
    bool weight_decay = false;
  };
  Tensor moment(const Buffer& buffer, int index) const;
  Parameters* parameters_;
  AdamWConfig config_;
  std::vector<Range> ranges_;
  Buffer moment1_, moment2_;
  int64_t steps_done_ = 0;
};

}  // namespace triax
