// From logits to the next token: repetition penalty, temperature, top-k, top-p, then one draw.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "triax/base/rng.h"

namespace triax {

struct SamplingOptions {
  double temperature = 1.0;         // 0: the most likely token (greedy)
  int64_t top_k = 0;                // only the k most likely tokens; 0: all
  double top_p = 1.0;               // only the most likely tokens that make up this probability
  double repetition_penalty = 1.0;  // > 1 makes tokens that occurred less likely (Keskar et al. 2019)
};

struct SampledToken {
  int32_t token = 0;
  float log_probability = 0;  // under the model itself, before any of the options
};

// `logits` of the real vocabulary, changed in place; `seen` are the tokens so far.
SampledToken sample_token(std::span<float> logits, std::span<const int32_t> seen,
                          const SamplingOptions& options, Philox& random);

// log(sum(exp(logits)))
double log_sum_exp(std::span<const float> logits);

}  // namespace triax
