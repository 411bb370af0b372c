#include "triax/text/vocabulary_map.h"

#include <gtest/gtest.h>

#include "text/fixture.h"
#include "triax/base/file.h"
#include "triax/text/wordpiece_tokenizer.h"

namespace triax {
namespace {

using Ids = std::vector<int32_t>;

std::unique_ptr<Tokenizer> wordpiece(const std::string& lines) { return text::parse_vocab_txt({"vocab.txt", lines}); }

TEST(VocabularyMap, KeepsWhatBothHaveAndSplitsTheRest) {
  const auto from = wordpiece("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nkin\n##ase\n##s\nin\n##hib\n##it\n");
  const auto to = wordpiece("[UNK]\n[MASK]\n[CLS]\n[SEP]\n[PAD]\nkinase\nin\n##inhibits\n##hibits\ninhibits\nzz\n");
  const VocabularyMap map = map_vocabulary(*from, *to);
  const std::vector<Ids> expected = {{1}, {4}, {2}, {3}, {0}, {5, 6}, {8},
                                     {8, 9, 10, 7},  // there is no "##in": as at the beginning of a word
                                     {9, 10, 7}, {8, 9, 10, 7}, {}};
  EXPECT_EQ(map.pieces, expected);
  EXPECT_EQ(map.shared, 6);
  EXPECT_EQ(map.split, 4);
  EXPECT_EQ(map.without, 1);
  EXPECT_DOUBLE_EQ(map.mean_pieces(), (2 + 4 + 3 + 4) / 4.0);
}

TEST(VocabularyMap, OfTheSameVocabularyIsTheIdentity) {
  for (const char* folder : {"wordpiece-uncased", "wordpiece-cased"}) {
    const auto tokenizer = load_tokenizer(test::data_path(folder));
    const VocabularyMap map = map_vocabulary(*tokenizer, *tokenizer);
    for (size_t i = 0; i < map.pieces.size(); ++i) {
      if (tokenizer->token_text(static_cast<int32_t>(i)).empty()) continue;
      EXPECT_EQ(map.pieces[i], Ids{static_cast<int32_t>(i)}) << i;
    }
  }
}

// Any kind from any other: what the old pieces spell is what the new token spells.
TEST(VocabularyMap, GoesBetweenKinds) {
  const auto bpe = load_tokenizer(test::data_path("bpe")), pieces = load_tokenizer(test::data_path("wordpiece-cased"));
  for (const auto& [from, to] : {std::pair(bpe.get(), pieces.get()), std::pair(pieces.get(), bpe.get())}) {
    const VocabularyMap map = map_vocabulary(*from, *to);
    int64_t spelled = 0;
    for (int32_t id = 0; id < to->vocab_size(); ++id) {
      if (to->is_special(id) || map.pieces[static_cast<size_t>(id)].empty()) continue;
      const auto letters = [](std::string text) {
        std::erase(text, ' ');
        return text;
      };
      std::string old = from->decode(map.pieces[static_cast<size_t>(id)]);
      if (old.starts_with("##")) old.erase(0, 2);  // decoded as if a text began within a word
      spelled += letters(old) == letters(std::string(to->token_bytes(id)));
    }
    EXPECT_GT(spelled, (map.shared + map.split) * 9 / 10);
    EXPECT_GT(map.split, 100);
  }
}

}  // namespace
}  // namespace triax
