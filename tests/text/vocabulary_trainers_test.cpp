// Training WordPiece and Unigram vocabularies, and counting words within a limit of memory.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "text/fixture.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/parallel.h"
#include "triax/base/text.h"
#include "triax/text/sentencepiece_tokenizer.h"
#include "triax/text/unigram_trainer.h"
#include "triax/text/word_spill.h"
#include "triax/text/wordpiece_trainer.h"

namespace triax::text {
namespace {

using test::Random;

WordCounts count_words(const std::vector<std::string>& documents, WordCounterOptions options = {}) {
  WordCounter counter(std::move(options));
  for (const std::string& document : documents) counter.add(document);
  return counter.finish();
}

std::map<std::string, uint64_t> counts_of(const WordCounts& counts) {
  std::map<std::string, uint64_t> result;
  for (const auto& word : counts.words) result.emplace(counts.text(word), word.count);
  return result;
}

TEST(WordCounts, FollowTheirRule) {
  EXPECT_EQ(counts_of(count_words({"The naïve, the NAIVE"}, {.rule = WordRule::bert})),
            (std::map<std::string, uint64_t>{{"the", 2}, {"naive", 2}, {",", 1}}));
  EXPECT_EQ(counts_of(count_words({"  a\tbb \n", "a"}, {.rule = WordRule::spaces})), (std::map<std::string, uint64_t>{{"a", 2}, {"bb", 1}}));
}

TEST(WordCounts, AreTheSameWhenSpilled) {
  std::vector<std::string> documents;
  Random random(81);
  for (int i = 0; i < 220; ++i) {
    std::string document;
    for (int k = 0; k < 1000; ++k) document += fmt::format("w{} {} ", random.below(1u << 30), k % 7);
    documents.push_back(document);
  }
  const TemporaryDirectory directory;
  const auto spill = directory.path() / "spill";
  WordCounter counter({.memory_bytes = kLeastCounterMemory, .spill_directory = spill});
  for (const std::string& document : documents) counter.add(document);
  EXPECT_TRUE(std::filesystem::exists(spill));  // it did spill
  const WordCounts spilled = counter.finish();
  EXPECT_FALSE(std::filesystem::exists(spill));
  const WordCounts plain = count_words(documents);
  EXPECT_EQ(spilled.words_left_out, 0u);
  ASSERT_EQ(spilled.words.size(), plain.words.size());
  for (size_t i = 0; i < plain.words.size(); ++i) {
    ASSERT_EQ(spilled.text(spilled.words[i]), plain.text(plain.words[i]));
    ASSERT_EQ(spilled.words[i].count, plain.words[i].count);
  }
  EXPECT_THROW(WordCounter({.memory_bytes = 1000, .spill_directory = spill}), Error);
}

TEST(WordCounts, LeaveOutTheRarestWhereMemoryEnds) {
  const TemporaryDirectory directory;
  std::vector<std::filesystem::path> runs;
  for (const char* text : {"a a a a b b c", "a b b d d e"}) {
    runs.push_back(directory.path() / text);
    write_word_run(count_words({text}, {.rule = WordRule::spaces}), runs.back());
  }
  EXPECT_EQ(counts_of(merge_word_runs(runs, WordRule::gpt2, 1 << 20)),
            (std::map<std::string, uint64_t>{{"a", 5}, {"b", 4}, {"c", 1}, {"d", 2}, {"e", 1}}));
  const WordCounts some = merge_word_runs(runs, WordRule::gpt2, 4 * 110);
  EXPECT_EQ(counts_of(some), (std::map<std::string, uint64_t>{{"a", 5}, {"b", 4}, {"d", 2}}));
  EXPECT_EQ(some.words_left_out, 2u);
  EXPECT_EQ(some.occurrences_left_out, 2u);
  EXPECT_THROW(merge_word_runs(runs, WordRule::gpt2, 10), Error);
}

std::string trained_wordpiece(const std::vector<std::string>& documents, WordPieceTrainerOptions options) {
  const WordCounts counts = count_words(documents, {.rule = WordRule::bert, .bert = options.normalization});
  const TemporaryDirectory directory;
  save_tokenizer(*make_wordpiece_tokenizer(train_wordpiece(counts, options)), directory.path());
  const auto read_back = load_tokenizer(directory.path());
  const auto ids = read_back->encode("The quick brown fox.");
  EXPECT_EQ(read_back->decode(ids), options.normalization.lowercase ? "the quick brown fox." : "The quick brown fox.");
  return read_file(directory.path() / "vocab.txt");
}

TEST(WordPieceTrainer, LearnsWhatTokenizersLearns) {
  for (const bool lowercase : {true, false}) {
    const std::string stored = read_file(test::data_path(lowercase ? "wordpiece-uncased/vocab.txt" : "wordpiece-cased/vocab.txt"));
    WordPieceTrainerOptions options{.vocab_size = 900};
    options.normalization.lowercase = lowercase;
    const std::string vocabulary = trained_wordpiece(test::corpus(), options);
    const auto ours = split(vocabulary, '\n'), theirs = split(stored, '\n');
    ASSERT_EQ(ours.size(), theirs.size());
    // Special tokens and the alphabet are in the same order; then inner characters, which tokenizers has in any order,
    // and merges, where ties depend on it.
    const size_t alphabet = static_cast<size_t>(std::find_if(theirs.begin() + 5, theirs.end(), [](const std::string& token) {
                              return token.starts_with("##");
                            }) - theirs.begin());
    EXPECT_EQ(std::vector(ours.begin(), ours.begin() + static_cast<std::ptrdiff_t>(alphabet)),
              std::vector(theirs.begin(), theirs.begin() + static_cast<std::ptrdiff_t>(alphabet)));
    const std::set<std::string> known(theirs.begin(), theirs.end());
    const auto common = std::count_if(ours.begin(), ours.end(), [&](const std::string& token) { return known.contains(token); });
    EXPECT_GT(static_cast<double>(common), 0.97 * static_cast<double>(ours.size()));
  }
}

TEST(WordPieceTrainer, DoesNotDependOnThreads) {
  const int before = num_threads();
  set_num_threads(1);
  const std::string one = trained_wordpiece(test::corpus(), {.vocab_size = 700});
  set_num_threads(3);
  EXPECT_EQ(trained_wordpiece(test::corpus(), {.vocab_size = 700}), one);
  set_num_threads(before);
}

TEST(WordPieceTrainer, MergesByHand) {
  // "ab" is the most frequent pair, then "ab ##c"; "##c ##d" is left with one.
  const WordCounts counts = count_words({"ab ab abc abc abcd"}, {.rule = WordRule::bert});
  const auto config = train_wordpiece(counts, {.vocab_size = 100, .min_frequency = 2, .special_tokens = {"[UNK]"}});
  EXPECT_EQ(config.tokens, (std::vector<std::string>{"[UNK]", "a", "b", "c", "d", "##b", "##c", "##d", "ab", "abc"}));
  EXPECT_THROW(train_wordpiece(counts, {.vocab_size = 7, .special_tokens = {"[UNK]"}}), Error);
  EXPECT_THROW(train_wordpiece(counts, {.special_tokens = {"[PAD]"}}), Error);
  EXPECT_THROW(train_wordpiece(counts, {.alphabet = 0}), Error);
}

TEST(UnigramTrainer, LearnsTheSameOnAnyNumberOfThreads) {
  const int before = num_threads();
  std::string models[2];
  for (int i = 0; i < 2; ++i) {
    set_num_threads(1 + 2 * i);
    models[i] = train_unigram(count_words(test::corpus(), {.rule = WordRule::spaces}),
                              {.vocab_size = 600, .special_tokens = {"[CLS]", "[SEP]", "[MASK]"}, .character_coverage = 0.98,
                               .normalization = "nmt_nfkc_cf"});
  }
  set_num_threads(before);
  EXPECT_EQ(models[0], models[1]);
  const auto tokenizer = parse_sentencepiece({"none/m.model", models[0]});
  EXPECT_EQ(tokenizer->vocab_size(), 600);
  EXPECT_EQ(tokenizer->special_tokens().mask, 5);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("The quick brown fox")), "the quick brown fox");
  EXPECT_LT(tokenizer->encode("The quick brown fox").size(), 12u);
}

TEST(UnigramTrainer, MistakesAreErrors) {
  const WordCounts counts = count_words({"some words to learn from"}, {.rule = WordRule::spaces});
  EXPECT_THROW(train_unigram(counts, {.vocab_size = 3}), Error);
  EXPECT_THROW(train_unigram(counts, {.vocab_size = 5000}), Error);  // there is not that much to learn
  EXPECT_THROW(train_unigram(counts, {.vocab_size = 20, .normalization = "none"}), Error);
  EXPECT_THROW(train_unigram(counts, {.vocab_size = 20, .special_tokens = {"a,b"}}), Error);
  EXPECT_THROW(train_unigram({}, {.vocab_size = 20}), Error);
}

}  // namespace
}  // namespace triax::text
