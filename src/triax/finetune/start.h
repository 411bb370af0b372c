// Where tuning starts: the model it begins with, and the engine that tunes it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "triax/finetune/task.h"
#include "triax/train/engine.h"

namespace triax::finetune {

// `folder` in all of these: of Hugging Face, or a run or checkpoint of `triax train` with model.kind = "bert".
ModelConfig model_of(const std::filesystem::path& folder);
// Where its vocabulary is.
std::filesystem::path vocabulary_of(const std::filesystem::path& folder);

// All but the sizes of batches (batches.h, size_engine). The grid is filled in (GridConfig::fit).
EngineConfig engine_config(const FinetuneConfig& config, const ModelConfig& model, const BertHeadConfig& head, int64_t seed);

// Fills the engine, which is of model_of(folder) and the task's head: that head is fresh where there is none that fits.
// Returns the names of what is fresh on this rank. Collective.
std::vector<std::string> load_for_tuning(const std::filesystem::path& folder, const Task& task, Engine& engine);

}  // namespace triax::finetune
