#include <gtest/gtest.h>

#include <chrono>

#include "text/fixture.h"
#include "triax/text/bpe_model.h"

namespace triax::text {
namespace {

using test::Random;

// A vocabulary over the letters a-d with random merges.
BpeVocabulary random_vocabulary(Random& random, int merges) {
  BpeVocabulary vocabulary;
  vocabulary.tokens = {"a", "b", "c", "d"};
  for (int i = 0; i < merges; ++i) {
    const auto size = static_cast<uint32_t>(vocabulary.tokens.size());
    const uint32_t left = random.below(size), right = random.below(size);
    const std::string joined = vocabulary.tokens[left] + vocabulary.tokens[right];
    if (joined.size() > 12) continue;
    size_t result = 0;
    while (result < size && vocabulary.tokens[result] != joined) ++result;
    if (result == size) vocabulary.tokens.push_back(joined);
    vocabulary.merges.push_back({static_cast<int32_t>(left), static_cast<int32_t>(right), static_cast<int32_t>(result)});
  }
  return vocabulary;
}

// The definition: of all neighbours that can be merged, the lowest rank, the leftmost one.
std::vector<int32_t> encode_plainly(const BpeVocabulary& vocabulary, std::string_view word) {
  std::vector<int32_t> ids;
  for (const char c : word) ids.push_back(c - 'a');
  for (;;) {
    size_t best_rank = SIZE_MAX, best_at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i)
      for (size_t rank = vocabulary.merges.size(); rank-- > 0;) {
        const Merge& merge = vocabulary.merges[rank];
        if (merge.left != ids[i] || merge.right != ids[i + 1]) continue;
        if (rank < best_rank) best_rank = rank, best_at = i;
        break;  // the last of equal pairs counts
      }
    if (best_rank == SIZE_MAX) return ids;
    ids[best_at] = vocabulary.merges[best_rank].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

TEST(BpeModel, MergesAsTheDefinitionSays) {
  Random random(11);
  BpeScratch scratch;
  for (int round = 0; round < 40; ++round) {
    const BpeVocabulary vocabulary = random_vocabulary(random, 30);
    const BpeModel model(vocabulary);
    for (int i = 0; i < 60; ++i) {
      std::string word(i < 50 ? 1 + random.below(30) : 90 + random.below(60), ' ');  // both sides of the switch to a heap
      const uint32_t letters = 1 + random.below(4);
      for (char& c : word) c = static_cast<char>('a' + random.below(letters));
      std::vector<int32_t> ids;
      std::vector<int64_t> begins;
      model.encode_word(word, ids, scratch, &begins);
      EXPECT_EQ(ids, encode_plainly(vocabulary, word)) << word;
      int64_t at = 0;
      for (size_t k = 0; k < ids.size(); ++k) {
        EXPECT_EQ(begins[k], at);
        at += static_cast<int64_t>(vocabulary.tokens[static_cast<size_t>(ids[k])].size());
      }
    }
  }
}

TEST(BpeModel, LongWordsAreNotQuadratic) {
  BpeVocabulary vocabulary;
  vocabulary.tokens = {"a", "aa", "aaaa", "b"};
  vocabulary.merges = {{0, 0, 1}, {1, 1, 2}};
  const BpeModel model(std::move(vocabulary));
  std::string word(1 << 20, 'a');
  for (size_t i = 0; i < word.size(); i += 7) word[i] = 'b';
  std::vector<int32_t> ids;
  BpeScratch scratch;
  const auto start = std::chrono::steady_clock::now();
  model.encode_word(word, ids, scratch);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(ids.size(), (word.size() / 7) * 3 + 3);  // b aaaa aa, again and again; b aa a at the end
  EXPECT_LT(seconds, 30.0);  // a quadratic one takes hours
}

TEST(BpeModel, BytesWithoutATokenAreLeftOutOrUnknown) {
  BpeVocabulary vocabulary;
  vocabulary.tokens = {"a", "b", "ab", "?"};
  vocabulary.merges = {{0, 1, 2}};
  BpeScratch scratch;
  std::vector<int32_t> ids;
  BpeModel(vocabulary).encode_word("axxb", ids, scratch);
  EXPECT_EQ(ids, (std::vector<int32_t>{2}));  // as tokenizers does: a and b have become neighbours
  vocabulary.unk = 3;
  ids.clear();
  BpeModel(vocabulary).encode_word("axxb", ids, scratch);
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 3, 3, 1}));
  vocabulary.fuse_unk = true;
  ids.clear();
  BpeModel(vocabulary).encode_word("axxbx", ids, scratch);
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 3, 1, 3}));
}

TEST(BpeModel, IgnoreMergesTakesWholeWords) {
  BpeVocabulary vocabulary;
  vocabulary.tokens = {"a", "b", "ab"};  // no merge leads to "ab"
  BpeScratch scratch;
  std::vector<int32_t> ids;
  BpeModel(vocabulary).encode_word("ab", ids, scratch);
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 1}));
  vocabulary.ignore_merges = true;
  ids.clear();
  BpeModel(vocabulary).encode_word("ab", ids, scratch);
  EXPECT_EQ(ids, (std::vector<int32_t>{2}));
}

}  // namespace
}  // namespace triax::text
