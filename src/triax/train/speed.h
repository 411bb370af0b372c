// How fast this machine trains a model, measured on random tokens; of a BERT the published share is masked.
#pragma once

#include <functional>

#include "triax/train/engine.h"

namespace triax {

struct TrainingSpeed {
  double mean_step_seconds = 0, best_step_seconds = 0;
  int64_t steps = 0;  // measured
  double tokens_per_second = 0, model_flops_per_second = 0;
};

// Runs optimizer steps of `micro_batches` micro-batches for about `seconds`, but at least `steps`, after one that
// is not counted; `after_step` is called after each one that is, outside the measured time.
TrainingSpeed measure_training_speed(Engine& engine, int64_t micro_batches, double seconds, int64_t steps = 3,
                                     const std::function<void()>& after_step = {});

}  // namespace triax
