#include "triax/optim/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace triax {

double LrSchedule::at(int64_t step) const {
  const auto s = static_cast<double>(step), warmup = static_cast<double>(warmup_steps);
  const auto last = static_cast<double>(decay_steps);
  if (step < warmup_steps) return peak * s / warmup;
  const double span = std::max(1.0, last - warmup);
  const double progress = std::clamp((s - warmup) / span, 0.0, 1.0);
  switch (decay) {
    case Decay::constant: return peak;
    case Decay::cosine:
      return minimum + (peak - minimum) * 0.5 * (1 + std::cos(std::numbers::pi * progress));
    case Decay::linear: return peak + (minimum - peak) * progress;
    case Decay::inverse_sqrt:
      return std::max(minimum, peak * std::sqrt(std::max(1.0, warmup) / std::max(1.0, s)));
    case Decay::wsd: {
      const double decaying = std::max(1.0, wsd_fraction * last);
      return peak + (minimum - peak) * std::clamp((s - (last - decaying)) / decaying, 0.0, 1.0);
    }
  }
  return peak;
}

}  // namespace triax
