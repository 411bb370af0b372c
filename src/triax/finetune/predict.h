// A model's answer to many examples.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "triax/finetune/task.h"
#include "triax/train/engine.h"

namespace triax::finetune {

// The logits of every example, in order, computed `tokens` at a time (an example alone may be longer), by all ranks of the
// engine's grid, all of which call it and get all. The engine has room for the examples (batches.h). `progress` is told how
// many are done.
std::vector<Logits> predict_all(Engine& engine, std::span<const Example> examples, int64_t tokens,
                                const std::function<void(uint64_t)>& progress = {});

}  // namespace triax::finetune
