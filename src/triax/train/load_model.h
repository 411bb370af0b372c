// A trained model and its vocabulary, from a checkpoint or from the folder of a run.
#pragma once

#include <filesystem>
#include <memory>

#include "triax/checkpoint/checkpoint.h"
#include "triax/models/bert.h"
#include "triax/models/gpt.h"
#include "triax/text/tokenizer.h"
#include "triax/train/run_config.h"

namespace triax {

struct LoadedGpt {
  std::unique_ptr<Gpt> model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::filesystem::path checkpoint;  // what was read
  int64_t step = 0;
};

// `path`: a checkpoint, or a run's folder (its newest whole checkpoint). `tokenizer` overrides the
// vocabulary that the checkpoint names. `compute_type`: f32 or bf16. `context`: of the device that it is to be on.
LoadedGpt load_gpt(const std::filesystem::path& path, const std::filesystem::path& tokenizer,
                   DType compute_type, const Context& context = {});

// A BERT that triax pretrained, opened: its shape is known, its weights are still in the files.
struct SavedBert {
  CheckpointReader reader;
  RunConfig run;  // of which the model is a part, its vocabulary's size filled in
  std::filesystem::path tokenizer;  // folder; empty when the checkpoint names none
};
SavedBert open_bert(const std::filesystem::path& path);
// Fills what a rank owns of the parameters. Those of a head that the checkpoint does not have keep what they hold; their names
// are returned. Throws when another one is missing or has another shape.
std::vector<std::string> load_bert(const SavedBert& saved, Parameters& parameters);
// The same for a whole model, ready to compute.
std::vector<std::string> load_bert(const SavedBert& saved, Bert& model);

}  // namespace triax
