// The scale of the loss in fp16 (Micikevicius et al. 2018, Mixed Precision Training, section 3.2): gradients
// too small for half precision are kept from vanishing by working with those of scale * loss. A step whose
// gradients overflow does not count, and teaches the scale.
#pragma once

#include <cstdint>

namespace triax {

struct LossScaling {
  double fixed = 0;             // this scale, whatever happens; 0: it adapts
  double initial = 4294967296;  // 2^32
  double minimum = 1;
  int64_t window = 1000;   // steps without overflow after which the scale doubles
  int64_t hysteresis = 2;  // overflows, since it last doubled, of which only the last and those after it halve it
};

// All that a resumed run needs to go on as if it had not stopped.
struct LossScaleState {
  double scale = 0;           // 0: the loss is not scaled
  int64_t clean_steps = 0;    // since the last overflow or doubling
  int64_t overflows_left = 0;  // of the hysteresis
  int64_t skipped_steps = 0;  // of the run, all in all
};

class LossScaler {
 public:
  // One that does not scale.
  LossScaler() = default;
  explicit LossScaler(const LossScaling& config);

  bool active() const { return state_.scale > 0; }
  double scale() const { return active() ? state_.scale : 1.0; }
  // After every step. Throws Error naming the step and the keys where the scale would fall below the minimum.
  void update(int64_t step, bool overflow);

  const LossScaleState& state() const { return state_; }
  // That of a checkpoint: where it had no scale, the configured one is kept.
  void resume(const LossScaleState& state);

 private:
  LossScaling config_;
  LossScaleState state_;
};

}  // namespace triax
