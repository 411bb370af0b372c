// A dataset with something to learn and a run of seconds on it.
#pragma once

#include <filesystem>
#include <vector>

#include "triax/base/rng.h"
#include "triax/data/indexed_dataset.h"
#include "triax/train/run_config.h"

namespace triax::test {

// 60 documents of 50 kinds of token: each token is the one before plus one, mostly.
inline void write_tiny_dataset(const std::filesystem::path& prefix) {
  IndexedDatasetWriter writer(prefix, TokenType::u16);
  Philox random(3);
  for (int document = 0; document < 60; ++document) {
    std::vector<int32_t> tokens;
    const uint64_t length = 5 + random.next_below(80);
    auto token = static_cast<int32_t>(random.next_below(50));
    for (uint64_t i = 0; i < length; ++i) {
      tokens.push_back(token);
      token = static_cast<int32_t>(random.next_below(10) == 0 ? random.next_below(50)
                                                               : static_cast<uint64_t>(token + 1) % 50);
    }
    writer.add_document(tokens);
  }
  writer.commit();
}

inline RunConfig tiny_run(const std::filesystem::path& dataset, const std::filesystem::path& run) {
  RunConfig c;
  c.model = {.vocab_size = 50, .hidden_size = 32, .num_layers = 2, .num_heads = 2, .max_positions = 16,
             .hidden_dropout = 0.1, .attention_dropout = 0.1, .vocab_multiple = 16};
  c.train.steps = 12;
  c.train.micro_batch_size = 2;
  c.train.global_batch_size = 4;
  c.optimizer.learning_rate = 1e-2;
  c.optimizer.warmup_steps = 2;
  c.data.train = {dataset.string()};
  c.data.split = "90,10,0";
  c.eval.interval = 4;
  c.eval.batches = 2;
  c.checkpoint.keep = 0;
  c.output.dir = run.string();
  return c;
}

}  // namespace triax::test
