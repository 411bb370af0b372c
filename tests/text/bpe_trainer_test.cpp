#include <gtest/gtest.h>

#include <map>
#include <set>

#include "text/fixture.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/parallel.h"
#include "triax/text/bpe_trainer.h"
#include "triax/text/pretokenizer.h"

namespace triax::text {
namespace {

using test::Random;

WordCounts count(const std::vector<std::string>& documents) {
  WordCounter counter;
  for (const std::string& document : documents) counter.add(document);
  return counter.finish();
}

std::map<std::string, uint64_t> as_map(const WordCounts& counts) {
  std::map<std::string, uint64_t> result;
  for (const auto& word : counts.words) result.emplace(counts.text(word), word.count);
  return result;
}

// Restores the number of threads.
class Threads {
 public:
  explicit Threads(int threads) : before_(num_threads()) { set_num_threads(threads); }
  ~Threads() { set_num_threads(before_); }

 private:
  int before_;
};

TEST(WordCounts, AreThoseOfAPlainCount) {
  Random random(31);
  std::vector<std::string> documents;
  for (int i = 0; i < 3000; ++i) documents.push_back(i % 3 ? test::random_text(random) : test::random_bytes(random, 50));
  std::map<std::string, uint64_t> expected;
  for (const std::string& document : documents)
    for (size_t at = 0, end; at < document.size(); at = end) {
      end = gpt2_word_end(document, at);
      ++expected[document.substr(at, end - at)];
    }
  for (const int threads : {1, 3}) {
    const Threads scope(threads);
    EXPECT_EQ(as_map(count(documents)), expected);
  }
}

TEST(WordCounts, OfLargeDocumentsDoNotDependOnHowTheyAreCut) {
  // Long enough to be cut into pieces, with places where a careless cut would show.
  std::string document;
  std::map<std::string, uint64_t> expected;
  const int times = 60000;
  for (int i = 0; i < times; ++i) document += "we'll  see \n\n naïve 42!  ";
  expected = {{"we", times}, {"'ll", times}, {" ", 2 * times - 1}, {" see", times}, {" \n\n", times}, {" naïve", times},
              {" 42", times}, {"!", times}, {" we", 0}, {"  ", 1}};
  expected["we"] = 1, expected[" we"] = times - 1;
  const Threads scope(2);
  EXPECT_EQ(as_map(count({document})), expected);
}

TEST(WordCounts, AreSortedAndCounterStartsAnew) {
  WordCounter counter;
  counter.add("b a b");
  EXPECT_EQ(counter.bytes(), 5u);
  EXPECT_EQ(counter.documents(), 1u);
  const WordCounts first = counter.finish();
  ASSERT_EQ(first.words.size(), 3u);
  EXPECT_EQ(first.text(first.words[0]), " a");
  EXPECT_EQ(first.text(first.words[2]), "b");
  EXPECT_TRUE(counter.finish().words.empty());
}

TEST(BpeTrainer, LearnsWhatTokenizersLearns) {
  const auto stored = test::data_path("bpe/tokenizer.json");
  for (const int threads : {1, 2}) {
    const Threads scope(threads);
    const TemporaryDirectory directory;
    save_tokenizer(*make_bpe_tokenizer(train_bpe(count(test::corpus()), {.vocab_size = 2000})), directory.path());
    EXPECT_EQ(test::vocabulary_of(directory.path() / "tokenizer.json"), test::vocabulary_of(stored));
    EXPECT_EQ(test::merges_of(directory.path() / "tokenizer.json"), test::merges_of(stored));
  }
}

// The definition, counting everything anew for each merge.
std::vector<std::pair<std::string, std::string>> train_plainly(const std::vector<std::string>& documents, size_t merges,
                                                               int64_t min_frequency,
                                                               const std::vector<std::string>& first_tokens) {
  std::vector<std::string> tokens = first_tokens;
  std::map<std::string, int> ids;
  for (size_t i = 0; i < tokens.size(); ++i) ids[tokens[i]] = static_cast<int>(i);
  std::vector<std::vector<int>> words;
  for (const std::string& document : documents)
    for (size_t at = 0, end; at < document.size(); at = end) {
      end = gpt2_word_end(document, at);
      words.emplace_back();
      for (size_t i = at; i < end; ++i) words.back().push_back(ids.at(document.substr(i, 1)));
    }
  std::vector<std::pair<std::string, std::string>> result;
  while (result.size() < merges) {
    std::map<std::pair<int, int>, int64_t> pairs;
    for (const auto& word : words)
      for (size_t i = 0; i + 1 < word.size(); ++i) ++pairs[{word[i], word[i + 1]}];
    std::pair<int, int> best;
    int64_t best_count = 0;
    for (const auto& [pair, pair_count] : pairs)
      if (pair_count > best_count) best = pair, best_count = pair_count;  // the lowest ids come first
    if (best_count < std::max<int64_t>(1, min_frequency)) break;
    const std::string left = tokens[static_cast<size_t>(best.first)], right = tokens[static_cast<size_t>(best.second)];
    result.emplace_back(left, right);
    tokens.push_back(left + right);
    const int joined = ids.emplace(left + right, static_cast<int>(tokens.size() - 1)).first->second;
    for (auto& word : words)
      for (size_t i = 0; i + 1 < word.size(); ++i)
        if (word[i] == best.first && word[i + 1] == best.second) {
          word[i] = joined;
          word.erase(word.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        }
  }
  return result;
}

TEST(BpeTrainer, MergesAsTheDefinitionSays) {
  Random random(41);
  const std::vector<std::string> first_tokens = train_bpe({}, {.vocab_size = 257}).vocabulary.tokens;
  ASSERT_EQ(first_tokens.size(), 257u);
  for (int round = 0; round < 30; ++round) {
    std::vector<std::string> documents;
    const uint32_t letters = 2 + random.below(4);
    for (int i = 0; i < 20; ++i) {
      std::string text;
      for (uint32_t k = 0; k < 40; ++k) text += random.below(6) == 0 ? ' ' : static_cast<char>('a' + random.below(letters));
      documents.push_back(text);
    }
    const int64_t min_frequency = random.below(4);
    const auto config = train_bpe(count(documents), {.vocab_size = 257 + 60, .min_frequency = min_frequency});
    std::vector<std::pair<std::string, std::string>> merges;
    const auto& tokens = config.vocabulary.tokens;
    std::set<std::string> distinct(tokens.begin(), tokens.end());
    EXPECT_EQ(distinct.size(), tokens.size());
    for (const Merge& merge : config.vocabulary.merges)
      merges.emplace_back(tokens[static_cast<size_t>(merge.left)], tokens[static_cast<size_t>(merge.right)]);
    EXPECT_EQ(merges, train_plainly(documents, merges.size(), min_frequency, first_tokens));
    if (tokens.size() < 257 + 60) {
      EXPECT_EQ(merges.size(), train_plainly(documents, 60, min_frequency, first_tokens).size());
    }
  }
}

TEST(BpeTrainer, StopsWhereNoPairIsLeft) {
  const auto config = train_bpe(count({"aaaa"}), {.vocab_size = 1000, .min_frequency = 1});
  EXPECT_EQ(config.vocabulary.tokens.size(), 259u);  // aa, aaaa
  EXPECT_EQ(train_bpe(count({"ab"}), {.vocab_size = 1000, .min_frequency = 2}).vocabulary.tokens.size(), 257u);
}

TEST(BpeTrainer, PutsSpecialTokensFirst) {
  const auto tokenizer = make_bpe_tokenizer(
      train_bpe(count(test::corpus()), {.vocab_size = 300, .special_tokens = {"<pad>", "<|endoftext|>", "a b"}}));
  EXPECT_EQ(tokenizer->vocab_size(), 300);
  EXPECT_EQ(tokenizer->special_tokens().pad, 0);
  EXPECT_EQ(tokenizer->special_tokens().eod, 1);
  EXPECT_EQ(tokenizer->id_of("a b"), 2);
  EXPECT_TRUE(tokenizer->is_special(2));
  const TemporaryDirectory directory;
  save_tokenizer(*tokenizer, directory.path());
  const auto loaded = load_tokenizer(directory.path());
  EXPECT_EQ(loaded->id_of("a b"), 2);
  EXPECT_EQ(loaded->special_tokens().eod, 1);
}

TEST(BpeTrainer, RefusesAVocabularyThatIsTooSmall) {
  try {
    train_bpe({}, {.vocab_size = 256});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "a vocabulary of 256 is too small: the 256 bytes and the special tokens alone are 257");
  }
}

}  // namespace
}  // namespace triax::text
