#include "triax/text/wordpiece_trainer.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <unordered_map>

#include "triax/base/error.h"
#include "triax/text/utf8.h"

namespace triax::text {
namespace {

constexpr int64_t kMostCharacters = 8000;  // pairs of first tokens are counted in a table

// Calls body(code point) for every character of a word.
template <typename Body>
void for_each_character(std::string_view word, Body&& body) {
  for (size_t at = 0; at < word.size();) {
    const Utf8Char c = decode_utf8(word, at);
    body(c.code);
    at += c.length;
  }
}

// The most frequent characters, the lower code point on ties; in the order of Unicode.
std::vector<uint32_t> choose_alphabet(const WordCounts& counts, int64_t most) {
  std::map<uint32_t, uint64_t> count_of;
  for (const auto& word : counts.words) for_each_character(counts.text(word), [&](uint32_t code) { count_of[code] += word.count; });
  std::vector<std::pair<uint64_t, uint32_t>> order;
  for (const auto& [code, count] : count_of) order.emplace_back(count, code);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  if (order.size() > static_cast<size_t>(most)) order.resize(static_cast<size_t>(most));
  std::vector<uint32_t> alphabet;
  for (const auto& [count, code] : order) alphabet.push_back(code);
  std::sort(alphabet.begin(), alphabet.end());
  return alphabet;
}

struct CharacterIds {
  std::unordered_map<uint32_t, int32_t> first, inner;  // at the beginning of a word, and within
};

// Special tokens, the characters, and those of them that occur within words with "##".
CharacterIds add_first_tokens(const WordCounts& counts, const WordPieceTrainerOptions& options, std::vector<std::string>& tokens,
                              const std::string& prefix) {
  std::unordered_map<std::string, int32_t> id_of;
  const auto add = [&](const std::string& token) {
    const auto [found, is_new] = id_of.emplace(token, static_cast<int32_t>(tokens.size()));
    if (is_new) tokens.push_back(token);
    return found->second;
  };
  for (const std::string& token : options.special_tokens) {
    check(!token.empty(), "a special token must not be empty");
    add(token);
  }
  CharacterIds ids;
  for (const uint32_t code : choose_alphabet(counts, options.alphabet)) {
    std::string character;
    append_utf8(code, character);
    ids.first[code] = add(character);
  }
  std::set<uint32_t> inner;
  for (const auto& word : counts.words) {
    bool first = true;
    for_each_character(counts.text(word), [&](uint32_t code) {
      if (!first && ids.first.contains(code)) inner.insert(code);
      first = false;
    });
  }
  for (const uint32_t code : inner) {
    std::string character = prefix;
    append_utf8(code, character);
    ids.inner[code] = add(character);
  }
  return ids;
}

// Characters outside of the alphabet are left out of their words.
void add_words(const WordCounts& counts, const CharacterIds& ids, MergeTraining& training) {
  for (const auto& word : counts.words) {
    const uint64_t begin = training.symbols.size();
    bool first = true;
    for_each_character(counts.text(word), [&](uint32_t code) {
      const auto& which = first ? ids.first : ids.inner;
      if (const auto found = which.find(code); found != which.end()) training.symbols.push_back(found->second);
      first = false;
    });
    training.words.push_back({begin, static_cast<uint32_t>(training.symbols.size() - begin), static_cast<int64_t>(word.count)});
  }
}

}  // namespace

WordPieceConfig train_wordpiece(const WordCounts& counts, const WordPieceTrainerOptions& options) {
  check(options.vocab_size <= std::numeric_limits<int32_t>::max() / 2, "a vocabulary of {} tokens is too large", options.vocab_size);
  check(options.alphabet > 0 && options.alphabet <= kMostCharacters, "an alphabet of {} characters is not possible, only 1 to {}",
        options.alphabet, kMostCharacters);
  WordPieceConfig config;
  check(std::find(options.special_tokens.begin(), options.special_tokens.end(), config.unk) != options.special_tokens.end(),
        "a WordPiece vocabulary needs the special token {}", config.unk);
  MergeTraining training;
  training.inner_prefix = config.prefix;
  const CharacterIds ids = add_first_tokens(counts, options, training.tokens, config.prefix);
  check(options.vocab_size >= static_cast<int64_t>(training.tokens.size()),
        "a vocabulary of {} is too small: the special tokens and the characters of the text alone are {}; keep fewer characters, or "
        "give it more tokens",
        options.vocab_size, training.tokens.size());
  add_words(counts, ids, training);
  learn_merges(training, options.vocab_size, options.min_frequency, options.progress);

  config.tokens = std::move(training.tokens);
  config.normalization = options.normalization;
  for (const std::string& token : options.special_tokens)
    config.added.push_back({.content = token, .id = static_cast<int32_t>(std::find(config.tokens.begin(), config.tokens.end(), token) -
                                                                         config.tokens.begin())});
  fill_special_by_name(config.special, config.added);
  set_bert_inputs(config);
  return config;
}

}  // namespace triax::text
