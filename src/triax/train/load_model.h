// A trained GPT and its vocabulary, from a checkpoint or from the folder of a run.
#pragma once

#include <filesystem>
#include <memory>

#include "triax/models/gpt.h"
#include "triax/text/tokenizer.h"

namespace triax {

struct LoadedGpt {
  std::unique_ptr<Gpt> model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::filesystem::path checkpoint;  // what was read
  int64_t step = 0;
};

// `path`: a checkpoint, or a run's folder (its newest whole checkpoint). `tokenizer` overrides the
// vocabulary that the checkpoint names. `compute_type`: f32 or bf16.
LoadedGpt load_gpt(const std::filesystem::path& path, const std::filesystem::path& tokenizer,
                   DType compute_type);

}  // namespace triax
