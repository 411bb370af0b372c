// A tuned model: a Hugging Face folder (weights, configuration, vocabulary) that knows its task.
#pragma once

#include <filesystem>
#include <memory>

#include "triax/finetune/task.h"
#include "triax/models/bert.h"

namespace triax::finetune {

// As the model computes.
DType compute_type(TuningPrecision precision);

struct TunedModel {
  TaskOptions options;
  TuningPrecision precision = TuningPrecision::fp32;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Task> task;
  std::unique_ptr<Bert> model;
};

// Writes the folder, over whatever of that name is there; it appears whole or not at all.
void write_tuned_model(const std::filesystem::path& folder, const Bert& model, const Task& task, const Tokenizer& tokenizer,
                       TaskKind kind, FinetuneConfig config);
// A folder that write_tuned_model() made, to compute in `precision`, or in the one it was tuned in. Throws Error when it
// is some other.
TunedModel load_tuned_model(const std::filesystem::path& folder, std::optional<TuningPrecision> precision = std::nullopt);

// A BERT to be tuned for a task, with a head that is fresh where there is none that fits. Returns the names of what is
// fresh in `fresh`. `folder`: of Hugging Face, or a run or checkpoint of `triax train` with model.kind = "bert".
std::unique_ptr<Bert> load_for_tuning(const std::filesystem::path& folder, const Task& task, uint64_t seed, TuningPrecision precision, std::vector<std::string>& fresh);
// Where the vocabulary of such a folder is.
std::filesystem::path vocabulary_of(const std::filesystem::path& folder);

}  // namespace triax::finetune
