// Text from a GPT: prompts are read in one packed pass, then every sequence grows a token at a time
// against its key-value cache, all together.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "triax/generate/sampler.h"
#include "triax/models/gpt.h"
#include "triax/text/tokenizer.h"

namespace triax {

struct GenerateOptions {
  SamplingOptions sampling;
  int64_t max_tokens = 100;
  uint64_t seed = 0;               // sequence i draws from stream i of this seed
  std::vector<std::string> stop;   // generation ends before the first of these
  bool stop_at_end_of_document = true;
};

struct Generation {
  std::vector<int32_t> tokens;          // generated ones
  std::vector<float> log_probabilities; // of each, under the model
  std::string text;                     // decoded, without the stop string
  std::string finish_reason;            // "length", "stop", "end of document" or "context full"
};

class Generator {
 public:
  // `context`: of the device that the model is on.
  Generator(const Gpt& model, const Tokenizer& tokenizer, const Context& context = {});

  // One generation per prompt. on_text(i, text) is called with each new piece of whole characters of
  // sequence i as it becomes certain (text that may become part of a stop string is held back).
  // An empty prompt starts from the end-of-document token. Throws Error for a prompt that leaves no room.
  std::vector<Generation> generate(
      const std::vector<std::string>& prompts, const GenerateOptions& options,
      const std::function<void(size_t, std::string_view)>& on_text = {}) const;

 private:
  const Gpt& model_;
  const Tokenizer& tokenizer_;
  Context context_;
};

}  // namespace triax
