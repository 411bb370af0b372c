#include "triax/text/unigram_trainer.h"

#include <sentencepiece_trainer.h>

#include <algorithm>
#include <unordered_map>

#include "triax/base/error.h"

namespace triax::text {
namespace {

// Sums are made by thread, so that their number is part of the result.
constexpr int kThreads = 16;
constexpr size_t kLongestWord = 4192;

// "word<tab>count" for every word.
class Words final : public sentencepiece::SentenceIterator {
 public:
  explicit Words(const WordCounts& counts) : counts_(counts) { take(); }
  bool done() const override { return next_ == counts_.words.size(); }
  void Next() override {
    ++next_;
    take();
  }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void take() {
    if (done()) return;
    const auto& word = counts_.words[next_];
    line_ = counts_.text(word);
    line_ += fmt::format("\t{}", word.count);
  }

  const WordCounts& counts_;
  size_t next_ = 0;
  std::string line_;
};

std::string joined(const std::vector<std::string>& tokens) {
  std::string out;
  for (const std::string& token : tokens) {
    check(!token.empty() && token.find(',') == std::string::npos, "\"{}\" cannot be a special token here", token);
    out += (out.empty() ? "" : ",") + token;
  }
  return out;
}

void check_options(const UnigramTrainerOptions& options) {
  const std::vector<std::string> known = {"nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity"};
  check(std::find(known.begin(), known.end(), options.normalization) != known.end(),
        "normalization \"{}\" is not known; there are nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf, identity", options.normalization);
  check(options.character_coverage > 0 && options.character_coverage <= 1, "a character coverage of {} is not a share",
        options.character_coverage);
  const auto least = static_cast<int64_t>(3 + options.special_tokens.size() + (options.byte_fallback ? 256 : 0));
  check(options.vocab_size > least, "a vocabulary of {} is too small: the special pieces alone are {}", options.vocab_size, least);
}

}  // namespace

std::string train_unigram(const WordCounts& counts, const UnigramTrainerOptions& options) {
  check_options(options);
  check(!counts.words.empty(), "there are no words to learn from");
  Words words(counts);
  const std::unordered_map<std::string, std::string> arguments = {
      {"model_type", "unigram"},
      {"vocab_size", fmt::format("{}", options.vocab_size)},
      {"input_format", "tsv"},
      {"max_sentence_length", fmt::format("{}", kLongestWord)},
      {"character_coverage", fmt::format("{}", options.character_coverage)},
      {"normalization_rule_name", options.normalization},
      {"control_symbols", joined(options.special_tokens)},
      {"byte_fallback", options.byte_fallback ? "true" : "false"},
      {"num_threads", fmt::format("{}", kThreads)},
      {"minloglevel", "2"},  // errors
  };
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &words, &model);
  // Its messages begin with the place in its sources: "./src/...(660) [...] Vocabulary size too high".
  std::string_view message = status.message();
  if (const size_t place = message.find("] "); place != std::string_view::npos) message.remove_prefix(place + 2);
  check(status.ok(), "a Unigram vocabulary of {} cannot be learned: {}", options.vocab_size, message);
  return model;
}

}  // namespace triax::text
