#include <fmt/core.h>
#include <gtest/gtest.h>

#include "text/fixture.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/text.h"
#include "triax/text/wordpiece_tokenizer.h"

namespace triax {
namespace {

using test::Random;
using Ids = std::vector<int32_t>;

std::unique_ptr<Tokenizer> from_lines(const std::string& lines) {
  return text::parse_vocab_txt({"no such folder/vocab.txt", lines});
}

void expect_stored_words(const Tokenizer& tokenizer, std::string_view folder) {
  for (const auto& item : test::wordpiece_cases(folder)) {
    Ids ids;
    std::vector<ByteRange> offsets;
    tokenizer.encode_with_special(item.text, ids, &offsets);
    EXPECT_EQ(ids, item.ids) << item.text;
    ASSERT_EQ(offsets.size(), item.offsets.size()) << item.text;
    for (size_t i = 0; i < offsets.size(); ++i)
      EXPECT_EQ(offsets[i], (ByteRange{item.offsets[i].first, item.offsets[i].second})) << item.text << " " << i;
    EXPECT_EQ(tokenizer.decode(ids), item.decoded) << item.text;
  }
}

TEST(WordPiece, GivesIdsOffsetsAndTextOfTokenizers) {
  for (const char* folder : {"wordpiece-uncased", "wordpiece-cased"}) {
    const auto tokenizer = load_tokenizer(test::data_path(folder));
    expect_stored_words(*tokenizer, folder);
    const TemporaryDirectory directory;  // and so does what is written
    save_tokenizer(*tokenizer, directory.path());
    expect_stored_words(*load_tokenizer(directory.path()), folder);
    expect_stored_words(*load_tokenizer(directory.path() / "vocab.txt"), folder);
    EXPECT_EQ(read_file(directory.path() / "vocab.txt"), read_file(test::data_path(folder) / "vocab.txt"));
    // transformers gives pairs their types only when it is told so.
    EXPECT_NE(read_file(directory.path() / "tokenizer_config.json").find("token_type_ids"), std::string::npos);
  }
}

TEST(WordPiece, KnowsItsTokens) {
  const auto t = from_lines("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nplay\n##ing\n##s\n.\n");
  EXPECT_EQ(t->kind(), "WordPiece");
  EXPECT_EQ(t->vocab_size(), 9);
  EXPECT_EQ(t->encode("Playing, plays."), (Ids{5, 6, 1, 5, 7, 8}));
  EXPECT_EQ(t->encode("[MASK]"), (Ids{1, 1, 1}));  // plain text: bracket, word, bracket
  Ids ids;
  t->encode_with_special("[CLS]play [MASK]", ids);
  EXPECT_EQ(ids, (Ids{2, 5, 4}));
  EXPECT_EQ(t->special_tokens().pad, 0);
  EXPECT_EQ(t->special_tokens().unk, 1);
  EXPECT_EQ(t->special_tokens().cls, 2);
  EXPECT_EQ(t->special_tokens().sep, 3);
  EXPECT_EQ(t->special_tokens().mask, 4);
  EXPECT_EQ(t->special_tokens().eod, 3);
  EXPECT_TRUE(t->is_special(4));
  EXPECT_TRUE(t->starts_word(5));
  EXPECT_FALSE(t->starts_word(6));
  EXPECT_EQ(t->token_text(6), "##ing");
  EXPECT_EQ(t->token_bytes(6), "ing");
  EXPECT_EQ(t->id_of("##ing"), 6);
  EXPECT_EQ(t->decode(Ids{5, 6, 8, 5, -1, 99}), "playing. play");
  StreamDecoder stream(*t);
  std::string text;
  for (const int32_t id : {5, 6, 5}) text += stream.push(id);
  EXPECT_EQ(text + stream.finish(), "playing play");
}

TEST(WordPiece, LowersCapitalsUnlessTheVocabularyHasThem) {
  EXPECT_EQ(from_lines("[UNK]\nplay\n")->encode("PLAY"), (Ids{1}));
  EXPECT_EQ(from_lines("[UNK]\nplay\nPlay\n")->encode("Play play PLAY"), (Ids{2, 1, 0}));
}

TEST(WordPiece, TakesAnyBytes) {
  const auto t = load_tokenizer(test::data_path("wordpiece-uncased"));
  Random random(61);
  for (int i = 0; i < 500; ++i) {
    const std::string bytes = test::random_bytes(random, random.below(60));
    Ids ids;
    std::vector<ByteRange> offsets;
    t->encode(bytes, ids, &offsets);
    ASSERT_EQ(ids.size(), offsets.size());
    int64_t at = 0;
    for (const ByteRange& range : offsets) {
      EXPECT_LT(range.begin, range.end);
      EXPECT_LE(at, range.end);
      at = range.end;
    }
    EXPECT_LE(at, static_cast<int64_t>(bytes.size()));
    t->decode(ids);
  }
}

TEST(WordPiece, MistakesAreNamed) {
  const auto error = [](const std::string& lines) -> std::string {
    try {
      from_lines(lines);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(error("a\nb\n"), "no such folder/vocab.txt: has no token [UNK]; is it the vocab.txt of a BERT model?");
  EXPECT_EQ(error("[UNK]\na\na\n"), "no such folder/vocab.txt: line 3: token \"a\" is there twice");
}

TEST(WordPiece, DamagedFilesDoNoHarm) {
  const std::string good = R"({"added_tokens":[{"id":0,"content":"[UNK]","special":true}],"normalizer":{"type":"BertNormalizer",
    "clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},
    "pre_tokenizer":{"type":"BertPreTokenizer"},"decoder":{"type":"WordPiece","prefix":"##","cleanup":true},
    "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,
    "vocab":{"[UNK]":0,"a":1,"##b":2}}})";
  const auto use = [](const std::string& json) {
    try {
      const auto tokenizer = text::parse_tokenizer_json({"none/tokenizer.json", json});
      tokenizer->decode(tokenizer->encode("ab abc \xFF é"));
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  EXPECT_TRUE(use(good));
  for (size_t length = 0; length < good.size(); ++length) EXPECT_FALSE(use(good.substr(0, length)));
  Random random(62);
  for (int i = 0; i < 3000; ++i) {
    std::string damaged = good;
    for (uint32_t k = 1 + random.below(3); k > 0; --k)
      damaged[random.below(static_cast<uint32_t>(damaged.size()))] = "0123456789\"{}[],:\\ne"[random.below(20)];
    use(damaged);
  }
}

TEST(WordPiece, BertGivesThePublishedIds) {
  const auto vocabulary = test::shared_data("vocab/bert-uncased"), vectors = test::shared_data("tokenizer-vectors");
  if (!vocabulary || !vectors) GTEST_SKIP() << "BERT's vocabulary is not here (shared/data/vocab/bert-uncased)";
  const auto tokenizer = load_tokenizer(*vocabulary);
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string inputs = read_file(*vectors / "bert-bge.inp");
  const std::vector<std::string> outputs = split(read_file(*vectors / "bert-bge.out"), '\n');
  size_t number = 0;
  for (size_t begin = 0; begin < inputs.size(); ++number) {
    const size_t end = std::min(inputs.find(separator, begin), inputs.size());
    std::string ids;
    for (const int32_t id : tokenizer->encode(inputs.substr(begin, end - begin))) ids += fmt::format(" {}", id);
    EXPECT_EQ(ids, outputs.at(number)) << inputs.substr(begin, end - begin);
    begin = std::min(end + separator.size(), inputs.size());
  }
  EXPECT_EQ(number, 46u);
}

}  // namespace
}  // namespace triax
