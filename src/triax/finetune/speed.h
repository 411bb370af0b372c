// How fast a BERT is tuned and predicts, packed and with padding.
#pragma once

#include <vector>

#include "triax/finetune/task.h"
#include "triax/train/engine.h"

namespace triax::finetune {

// Sequences of random tokens, all of one length, of two classes.
std::vector<Example> random_examples(int64_t count, int64_t length, int64_t vocab_size);

enum class Padding { none, batch, window };  // to the longest of the batch, or to the window's length

struct WorkSpeed {
  double tokens = 0, computed = 0;  // of the texts; with padding
  double seconds = 0;
  double tokens_per_second() const { return seconds > 0 ? tokens / seconds : 0; }
};

struct TuningSpeed {
  WorkSpeed training[3], prediction[3];  // by Padding
  int64_t steps = 0;
  double model_flops_per_second = 0;     // of training without padding: matrix products and attention in full
};

struct SpeedOptions {
  int64_t batch_size = 16, window = 128, micro_batch_tokens = 4096;
  double seconds = 20;   // of training in all; prediction takes as many batches
  bool padded = true;    // else Padding::none alone
};

// Goes over the examples in a random order, each batch in all ways one after the other, so that what else the
// machine does falls on all alike; the first batch does not count. `config`: of one rank, but for the sizes of batches; the
// model begins with random weights.
TuningSpeed measure_tuning_speed(EngineConfig config, const std::vector<Example>& examples, const SpeedOptions& options);

}  // namespace triax::finetune
