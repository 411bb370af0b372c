// A model's answer to many examples.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "triax/finetune/task.h"
#include "triax/models/bert.h"
#include "triax/train/engine.h"

namespace triax::finetune {

// Memory for batches of any size: grows to the largest.
class BatchMemory {
 public:
  Arena& for_batch(const Bert& model, int64_t tokens, int64_t sequences);

 private:
  std::unique_ptr<Arena> arena_;
};

// The logits of every example, in order, computed `tokens` at a time. `progress` is told how many examples
// are done. An example alone may be longer than `tokens`.
std::vector<Logits> predict_all(const Bert& model, std::span<const Example> examples, int64_t tokens, BatchMemory& memory,
                                const std::function<void(uint64_t)>& progress = {});
// The same by all ranks of a grid, all of which call it and get all. The engine was sized with the examples (size_engine).
std::vector<Logits> predict_all(Engine& engine, std::span<const Example> examples, int64_t tokens,
                                const std::function<void(uint64_t)>& progress = {});

}  // namespace triax::finetune
