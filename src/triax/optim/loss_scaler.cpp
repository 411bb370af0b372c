#include "triax/optim/loss_scaler.h"

#include "triax/base/error.h"

namespace triax {

LossScaler::LossScaler(const LossScaling& config)
    : config_(config),
      state_{.scale = config.fixed > 0 ? config.fixed : config.initial, .overflows_left = config.hysteresis} {}

void LossScaler::update(int64_t step, bool overflow) {
  state_.skipped_steps += overflow;
  if (config_.fixed > 0 || !active()) return;
  if (!overflow) {
    if (++state_.clean_steps < config_.window) return;
    state_.clean_steps = 0;
    state_.overflows_left = config_.hysteresis;
    state_.scale *= 2;
    return;
  }
  state_.clean_steps = 0;
  if (state_.overflows_left > 0) --state_.overflows_left;
  if (state_.overflows_left > 0) return;
  check(state_.scale / 2 >= config_.minimum,
        "step {}: gradients overflow fp16 even at a loss scale of {:g}, and train.min_loss_scale = {:g} allows no smaller "
        "one: the numbers themselves are too large. Lower optimizer.learning_rate, or use train.precision = \"bf16\"",
        step, state_.scale, config_.minimum);
  state_.scale /= 2;
}

void LossScaler::resume(const LossScaleState& state) {
  const bool keeps_scale = active() && state.scale > 0 && config_.fixed == 0;
  if (keeps_scale) state_ = state;
  state_.skipped_steps = state.skipped_steps;
}

}  // namespace triax
