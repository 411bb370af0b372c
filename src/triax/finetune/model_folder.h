// A tuned model: a Hugging Face folder (weights, configuration, vocabulary) that knows its task.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "triax/finetune/task.h"
#include "triax/train/engine.h"

namespace triax::finetune {

struct TunedModel {
  TaskOptions options;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Task> task;
  std::unique_ptr<Engine> engine;  // that only predicts
};

struct TunedModelOptions {
  int64_t tokens = 4096;                              // computed at a time (predict_all): memory is for so many
  std::optional<Precision> precision = std::nullopt;  // none: the one it was tuned in
  Device device = {};                                 // of one rank; with a grid its kind counts
};

// Writes the folder, over whatever of that name is there; it appears whole or not at all. All ranks of the engine's grid call
// it, and give the first one what they have, a tensor at a time.
void write_tuned_model(const std::filesystem::path& folder, Engine& engine, const Task& task, const Tokenizer& tokenizer,
                       TaskKind kind, FinetuneConfig config);
// The weights of such a folder into the engine that wrote it, or one like it. Collective.
void load_tuned_weights(const std::filesystem::path& folder, Engine& engine);
// A folder that write_tuned_model() made, ready to predict. Throws Error when it is some other, or too large for the machine.
// With a grid, which must outlive the model, this is one of its ranks, and every call is collective. `queue`: as Engine's.
TunedModel load_tuned_model(const std::filesystem::path& folder, const TunedModelOptions& options = {}, const ProcessGrid* grid = nullptr,
                            std::unique_ptr<DeviceQueue> queue = nullptr);

}  // namespace triax::finetune
