// One optimizer step of tuning.
#pragma once

#include <span>

#include "triax/finetune/batches.h"
#include "triax/optim/optimizer.h"

namespace triax::finetune {

struct StepSettings {
  double learning_rate = 0, head_learning_rate = 0;  // the latter of the layers behind the encoder (without the pooler)
  double clip_gradient = 0;                          // largest norm; 0: any
  int64_t micro_batch_tokens = 4096;
};

// The mean loss over the examples, whole groups given by their first ones; the weights are changed by its gradient.
// `layout` tells seed and step. With `ranks` each of them computes the gradient of its part. Throws Error naming the tensor when a gradient is not finite.
double tuning_step(Bert& model, Optimizer& optimizer, std::span<const Example> examples, std::span<const size_t> firsts,
                   std::span<const float> weights_of_classes, const StepSettings& settings, const TokenLayout& layout, BatchMemory& memory,
                   Communicator* ranks = nullptr);

}  // namespace triax::finetune
