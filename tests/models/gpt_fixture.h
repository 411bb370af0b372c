// The stored GPT of data/make_gpt_fixture.py: weights, logits, gradients and losses from PyTorch.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "triax/checkpoint/safetensors.h"
#include "triax/train/engine.h"

namespace triax::test {

inline SafetensorsFile open_gpt_fixture() {
  return SafetensorsFile(std::string(TRIAX_SOURCE_DIR) + "/tests/models/data/gpt_fixture.safetensors");
}

inline OwnedTensor load(const SafetensorsFile& file, const std::string& name) {
  const SafetensorsEntry& entry = file.get(name);
  OwnedTensor tensor(entry.shape, entry.dtype);
  file.read(entry, tensor);
  return tensor;
}

inline EngineConfig gpt_fixture_config() {
  EngineConfig config;
  config.model = {.vocab_size = 61, .hidden_size = 32, .num_layers = 3, .num_heads = 4,
                  .max_positions = 24, .hidden_dropout = 0, .attention_dropout = 0,
                  .vocab_multiple = 16};
  config.sequence_length = 24;
  config.micro_batch_size = 3;
  config.optimizer = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1};
  config.clip_gradient = 1.0;
  return config;
}

// Sequences [first, first + count) of the fixture as one micro-batch.
inline TokenBatch gpt_fixture_batch(const SafetensorsFile& file, int64_t first = 0, int64_t count = 3) {
  const OwnedTensor tokens = load(file, "tokens"), targets = load(file, "targets");
  const int64_t s = tokens.view().dim(1);
  TokenBatch batch;
  for (int64_t i = first * s; i < (first + count) * s; ++i) {
    batch.tokens.push_back(tokens.span<int32_t>()[static_cast<size_t>(i)]);
    batch.targets.push_back(targets.span<int32_t>()[static_cast<size_t>(i)]);
    batch.positions.push_back(static_cast<int32_t>(i % s));
    batch.loss_mask.push_back(1);
  }
  for (int64_t i = 0; i < count; ++i) batch.spans.push_back({i * s, s});
  batch.first_sample = first;
  return batch;
}

inline void load_fixture_weights(const SafetensorsFile& file, Engine& engine) {
  Parameters& parameters = engine.model().parameters();
  for (int i = 0; i < static_cast<int>(parameters.table().specs().size()); ++i) {
    const OwnedTensor weight = load(file, "weight." + parameters.table()[i].name);
    const auto values = weight.span<float>();
    std::copy(values.begin(), values.end(), parameters.master(i).data<float>());
  }
  parameters.refresh_copies(engine.context());
}

// max |a - b| / max |b|
inline double relative_error(std::span<const float> a, std::span<const float> b) {
  double difference = 0, size = 1e-30;
  for (size_t i = 0; i < b.size(); ++i) {
    difference = std::max(difference, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    size = std::max(size, std::fabs(static_cast<double>(b[i])));
  }
  return difference / size;
}

}  // namespace triax::test
