// A tuned model: a Hugging Face folder (weights, configuration, vocabulary) that knows its task.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "triax/finetune/task.h"
#include "triax/models/bert.h"
#include "triax/train/engine.h"

namespace triax::finetune {

struct TunedModel {
  TaskOptions options;
  Precision precision = Precision::fp32;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Task> task;
  std::unique_ptr<Bert> model;
};

// Writes the folder, over whatever of that name is there; it appears whole or not at all. All ranks of the engine's grid call
// it, and give the first one what they have, a tensor at a time.
void write_tuned_model(const std::filesystem::path& folder, Engine& engine, const Task& task, const Tokenizer& tokenizer,
                       TaskKind kind, FinetuneConfig config);
// The weights of such a folder into the engine that wrote it, or one like it. Collective.
void load_tuned_weights(const std::filesystem::path& folder, Engine& engine);
// A folder that write_tuned_model() made, to compute in `precision`, or in the one it was tuned in. Throws Error when it
// is some other.
TunedModel load_tuned_model(const std::filesystem::path& folder, std::optional<Precision> precision = std::nullopt);

}  // namespace triax::finetune
