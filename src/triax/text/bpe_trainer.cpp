#include "triax/text/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_map>

#include "triax/base/error.h"
#include "triax/text/byte_level.h"
#include "triax/text/merge_trainer.h"

namespace triax::text {
namespace {

// Special tokens, then the 256 bytes in the order of the characters that spell them.
struct FirstTokens {
  std::vector<std::string> tokens;
  std::vector<bool> literal;
  std::vector<AddedToken> added;
  std::array<int32_t, 256> byte_ids{};
};

FirstTokens first_tokens(const BpeTrainerOptions& options) {
  FirstTokens first;
  std::unordered_map<std::string, int32_t> id_of;
  const auto add = [&](std::string bytes, bool literal) {
    const auto [found, is_new] = id_of.emplace(bytes, static_cast<int32_t>(first.tokens.size()));
    if (is_new) {
      first.tokens.push_back(std::move(bytes));
      first.literal.push_back(literal);
    }
    return found->second;
  };
  for (const std::string& token : options.special_tokens) {
    check(!token.empty(), "a special token must not be empty");
    const int32_t id = add(token, !unspell_bytes(token).has_value());
    first.added.push_back({.content = token, .id = id});
  }
  std::array<int, 256> bytes;
  for (int b = 0; b < 256; ++b) bytes[static_cast<size_t>(b)] = b;
  std::sort(bytes.begin(), bytes.end(), [](int a, int b) {
    return byte_level_code(static_cast<uint8_t>(a)) < byte_level_code(static_cast<uint8_t>(b));
  });
  for (const int b : bytes) first.byte_ids[static_cast<size_t>(b)] = add(std::string(1, static_cast<char>(b)), false);
  const auto least = static_cast<int64_t>(first.tokens.size());
  check(options.vocab_size >= least, "a vocabulary of {} is too small: the 256 bytes and the special tokens alone are {}",
        options.vocab_size, least);
  return first;
}

}  // namespace

BpeConfig train_bpe(const WordCounts& counts, const BpeTrainerOptions& options) {
  check(options.vocab_size <= std::numeric_limits<int32_t>::max() / 2, "a vocabulary of {} tokens is too large",
        options.vocab_size);
  FirstTokens first = first_tokens(options);
  MergeTraining training;
  training.tokens = std::move(first.tokens);
  training.symbols.reserve(counts.bytes.size());
  training.words.reserve(counts.words.size());
  for (const auto& word : counts.words) {
    training.words.push_back({training.symbols.size(), word.length, static_cast<int64_t>(word.count)});
    for (const char c : counts.text(word)) training.symbols.push_back(first.byte_ids[static_cast<unsigned char>(c)]);
  }
  learn_merges(training, options.vocab_size, options.min_frequency, options.progress);

  BpeConfig config;
  config.vocabulary.tokens = std::move(training.tokens);
  config.vocabulary.literal = std::move(first.literal);
  config.vocabulary.literal.resize(config.vocabulary.tokens.size(), false);
  config.vocabulary.merges = std::move(training.merges);
  config.added = std::move(first.added);
  config.post_processor = R"({"type":"ByteLevel","add_prefix_space":true,"trim_offsets":false,"use_regex":true})";
  fill_special_by_name(config.special, config.added);
  return config;
}

}  // namespace triax::text
