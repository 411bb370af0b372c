// Learning rate as a function of the step: linear warm-up, then one of the usual decays.
#pragma once

#include <cstdint>

namespace triax {

enum class Decay { cosine, linear, constant, inverse_sqrt, wsd };

struct LrSchedule {
  Decay decay = Decay::cosine;
  double peak = 3e-4, minimum = 3e-5;
  int64_t warmup_steps = 0;
  int64_t decay_steps = 0;       // step at which the minimum is reached (and kept)
  double wsd_fraction = 0.2;     // wsd (warm-up, stable, decay): share of decay_steps that decays

  // Rate of step `step`, counted from 1. Warm-up reaches the peak at step == warmup_steps.
  double at(int64_t step) const;
};

}  // namespace triax
