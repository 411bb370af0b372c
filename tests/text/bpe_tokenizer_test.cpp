#include <fmt/core.h>
#include <gtest/gtest.h>

#include <thread>

#include "text/fixture.h"
#include "triax/base/file.h"
#include "triax/base/text.h"
#include "triax/text/tokenizer.h"

namespace triax {
namespace {

using test::Random;
using Ids = std::vector<int32_t>;

const Tokenizer& small_bpe() {
  static const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(test::data_path("bpe"));
  return *tokenizer;
}

std::string repeat(std::string_view unit, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += unit;
  return out;
}

TEST(BpeTokenizer, GivesTheIdsOfTokenizers) {
  for (const auto& [text, ids] : test::bpe_cases().cases) {
    EXPECT_EQ(small_bpe().encode(text), ids) << text;
    EXPECT_EQ(small_bpe().decode(ids), text);
  }
}

TEST(BpeTokenizer, GivesTheIdsOfTokenizersForLongRuns) {
  for (const auto& item : test::bpe_cases().repeated) {
    const std::string text = repeat(item.unit, item.times);
    const Ids ids = small_bpe().encode(text);
    EXPECT_EQ(ids.size(), item.count) << item.unit << " times " << item.times;
    EXPECT_EQ(fmt::format("{:016x}", test::digest(ids)), item.digest) << item.unit << " times " << item.times;
    EXPECT_EQ(small_bpe().decode(ids), text);
  }
}

TEST(BpeTokenizer, GivesTheIdsOfTokenizersForPseudoRandomText) {
  const auto& expected = test::bpe_cases().random_batches;
  for (size_t batch = 0; batch < expected.size(); ++batch) {
    Random random(1000 + batch);
    uint64_t state = test::kDigestStart;
    for (int i = 0; i < 50; ++i) state = test::digest(small_bpe().encode(test::random_text(random)), state);
    EXPECT_EQ(fmt::format("{:016x}", state), expected[batch]) << "batch " << batch;
  }
}

TEST(BpeTokenizer, SpecialTokensOnlyWhenAskedFor) {
  for (const auto& [text, ids] : test::bpe_cases().special) {
    Ids found;
    small_bpe().encode_with_special(text, found);
    EXPECT_EQ(found, ids) << text;
    const Ids plain = small_bpe().encode(text);
    EXPECT_EQ(std::count(plain.begin(), plain.end(), 0), 0) << text;
    EXPECT_EQ(small_bpe().decode(plain), text);
  }
}

TEST(BpeTokenizer, KnowsItsTokens) {
  const Tokenizer& t = small_bpe();
  EXPECT_EQ(t.kind(), "byte-level BPE");
  EXPECT_EQ(t.vocab_size(), 2000);
  EXPECT_EQ(t.special_tokens().eod, 0);
  EXPECT_TRUE(t.is_special(0));
  EXPECT_FALSE(t.is_special(1));
  EXPECT_FALSE(t.is_special(-1));
  EXPECT_FALSE(t.is_special(5000));
  const auto the = t.id_of("Ġthe");
  ASSERT_TRUE(the.has_value());
  EXPECT_EQ(t.token_bytes(*the), " the");
  EXPECT_EQ(t.token_text(*the), "Ġthe");
  EXPECT_TRUE(t.starts_word(*the));
  EXPECT_FALSE(t.starts_word(*t.id_of("e")));
  EXPECT_TRUE(t.starts_word(0));
  EXPECT_EQ(t.id_of("<|endoftext|>"), 0);
  EXPECT_EQ(t.token_text(0), "<|endoftext|>");
  EXPECT_EQ(t.id_of("no such token"), std::nullopt);
  EXPECT_EQ(t.id_of(""), std::nullopt);
  for (int32_t id = 0; id < t.vocab_size(); ++id) EXPECT_EQ(t.id_of(t.token_text(id)), id);
}

TEST(BpeTokenizer, KeepsArbitraryBytes) {
  Random random(21);
  for (int i = 0; i < 1000; ++i) {
    const std::string bytes = test::random_bytes(random, random.below(80));
    EXPECT_EQ(small_bpe().decode(small_bpe().encode(bytes), {.replace_invalid = false}), bytes);
  }
}

TEST(BpeTokenizer, OffsetsTileTheText) {
  Random random(22);
  for (int i = 0; i < 500; ++i) {
    const std::string text = i % 2 ? test::random_text(random) : test::random_bytes(random, random.below(60));
    Ids ids{-7};  // encode() appends
    std::vector<ByteRange> offsets{{-1, -1}};
    small_bpe().encode(text, ids, &offsets);
    ASSERT_EQ(ids.size(), offsets.size());
    int64_t at = 0;
    for (size_t k = 1; k < ids.size(); ++k) {
      EXPECT_EQ(offsets[k].begin, at);
      at = offsets[k].end;
      EXPECT_EQ(text.substr(static_cast<size_t>(offsets[k].begin), static_cast<size_t>(at - offsets[k].begin)),
                small_bpe().token_bytes(ids[k]));
    }
    EXPECT_EQ(at, static_cast<int64_t>(text.size()));
    EXPECT_EQ(Ids(ids.begin() + 1, ids.end()), small_bpe().encode(text));
  }
  Ids ids;
  std::vector<ByteRange> offsets;
  small_bpe().encode_with_special("ab<|endoftext|>c", ids, &offsets);
  EXPECT_EQ(offsets[offsets.size() - 2], (ByteRange{2, 15}));
  EXPECT_EQ(offsets.back(), (ByteRange{15, 16}));
}

TEST(BpeTokenizer, DecodesAnyIds) {
  const Tokenizer& t = small_bpe();
  EXPECT_EQ(t.decode({}), "");
  EXPECT_EQ(t.decode(Ids{-1, 2000, INT32_MAX, INT32_MIN}), "");
  const int32_t lead = *t.id_of("Ã");  // the byte 0xC3
  EXPECT_EQ(t.decode(Ids{lead}), "\xEF\xBF\xBD");
  EXPECT_EQ(t.decode(Ids{lead}, {.replace_invalid = false}), "\xC3");
  EXPECT_EQ(t.decode(Ids{0, *t.id_of("a"), 0}), "<|endoftext|>a<|endoftext|>");
  EXPECT_EQ(t.decode(Ids{0, *t.id_of("a"), 0}, {.skip_special = true}), "a");
  Random random(23);
  for (int i = 0; i < 300; ++i) {
    Ids ids(random.below(40));
    for (int32_t& id : ids) id = static_cast<int32_t>(random.below(2000));
    EXPECT_EQ(find_invalid_utf8(t.decode(ids)), std::string::npos);
  }
}

TEST(StreamDecoder, GivesWholeCharactersAndTheSameText) {
  const Tokenizer& t = small_bpe();
  Random random(24);
  for (int i = 0; i < 300; ++i) {
    Ids ids = t.encode(test::random_text(random));
    if (i % 2)
      for (int32_t& id : ids) id = static_cast<int32_t>(random.below(2100));  // also what is not UTF-8
    StreamDecoder stream(t);
    std::string text;
    for (const int32_t id : ids) {
      const std::string piece = stream.push(id);
      EXPECT_EQ(find_invalid_utf8(piece), std::string::npos);
      text += piece;
    }
    text += stream.finish();
    EXPECT_EQ(text, t.decode(ids));
  }
}

TEST(StreamDecoder, HoldsBackHalfACharacter) {
  const Tokenizer& t = small_bpe();
  StreamDecoder stream(t);
  const int32_t rocket[] = {*t.id_of("ð"), *t.id_of("Ł"), *t.id_of("ļ"), *t.id_of("Ģ")};  // F0 9F 9A 80
  EXPECT_EQ(stream.push(rocket[0]), "");
  EXPECT_EQ(stream.push(rocket[1]), "");
  EXPECT_EQ(stream.push(rocket[2]), "");
  EXPECT_EQ(stream.push(rocket[3]), "🚀");
  EXPECT_EQ(stream.push(rocket[0]), "");
  EXPECT_EQ(stream.push(*t.id_of("a")), "\xEF\xBF\xBD" "a");
  EXPECT_EQ(stream.push(rocket[0]), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.finish(), "");
}

TEST(BpeTokenizer, ThreadsShareOne) {
  std::vector<Ids> expected;
  Random random(25);
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back(test::random_text(random));
  for (const std::string& text : texts) expected.push_back(small_bpe().encode(text));
  std::vector<int> wrong(8, 0);
  {
    std::vector<std::jthread> threads;
    for (size_t k = 0; k < wrong.size(); ++k)
      threads.emplace_back([&, k] {
        for (int round = 0; round < 5; ++round)
          for (size_t i = 0; i < texts.size(); ++i) wrong[k] += small_bpe().encode(texts[i]) != expected[i];
      });
  }
  EXPECT_EQ(wrong, std::vector<int>(8, 0));
}

TEST(BpeTokenizer, Gpt2GivesThePublishedIds) {
  const auto vocabulary = test::shared_data("vocab/gpt2"), vectors = test::shared_data("tokenizer-vectors");
  if (!vocabulary || !vectors) GTEST_SKIP() << "GPT-2's vocabulary is not here (shared/data/vocab/gpt2)";
  const auto tokenizer = load_tokenizer(*vocabulary);
  const auto older = load_tokenizer(*vocabulary / "vocab.json");
  EXPECT_EQ(tokenizer->vocab_size(), 50257);
  EXPECT_EQ(tokenizer->special_tokens().eod, 50256);
  EXPECT_EQ(older->special_tokens().eod, 50256);

  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string inputs = read_file(*vectors / "gpt-2.inp");
  const std::vector<std::string> outputs = split(read_file(*vectors / "gpt-2.out"), '\n');
  size_t begin = 0, number = 0;
  for (; begin < inputs.size(); ++number) {
    const size_t end = std::min(inputs.find(separator, begin), inputs.size());
    const std::string text = inputs.substr(begin, end - begin);
    begin = std::min(end + separator.size(), inputs.size());
    std::string ids;
    for (const int32_t id : tokenizer->encode(text)) ids += fmt::format(" {}", id);
    EXPECT_EQ(ids, outputs.at(number)) << text;
    EXPECT_EQ(older->encode(text), tokenizer->encode(text));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
  EXPECT_EQ(number, 46u);
}

}  // namespace
}  // namespace triax
