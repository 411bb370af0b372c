// A dataset with something to learn and a run of seconds on it.
#pragma once

#include <filesystem>
#include <vector>

#include "triax/base/file.h"
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

// The same for a BERT: 150 documents of sentences that count up and around within five words of the document's own, and
// a vocabulary of 50 in a folder of its own.
inline void write_tiny_texts(const std::filesystem::path& prefix, const std::filesystem::path& vocabulary) {
  constexpr int32_t kSpecial = 5, kWords = 45;
  std::string tokens = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (int32_t i = 0; i < kWords; ++i) tokens += (i % 3 == 2 ? "##" : "") + std::string("w") + std::to_string(i) + "\n";
  std::filesystem::create_directories(vocabulary);
  write_file_atomic(vocabulary / "vocab.txt", tokens);
  IndexedDatasetWriter writer(prefix, TokenType::u16);
  Philox random(5);
  for (int document = 0; document < 150; ++document) {
    auto token = static_cast<int32_t>(random.next_below(kWords));
    const int32_t first = token / 5 * 5;
    for (uint64_t sentence = 2 + random.next_below(5); sentence > 0; --sentence) {
      std::vector<int32_t> words;
      for (uint64_t i = 2 + random.next_below(7); i > 0; --i, token = first + (token + 1) % 5) words.push_back(kSpecial + token);
      writer.add_sequence(words);
    }
    writer.end_document();
  }
  writer.commit();
}

// Makes a run of tiny_run() one of a BERT.
inline void train_a_bert(RunConfig& c, const std::filesystem::path& texts, const std::filesystem::path& vocabulary) {
  c.model.kind = ModelKind::bert;
  c.data.train = {texts.string()};
  c.data.tokenizer = vocabulary.string();
  c.data.split = "80,20,0";
  c.data.masking.probability = 0.2;
}

}  // namespace triax::test
