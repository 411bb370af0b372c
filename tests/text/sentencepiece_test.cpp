#include <gtest/gtest.h>

#include <cstring>

#include "text/fixture.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/text/model_input.h"
#include "triax/text/sentencepiece_model.h"
#include "triax/text/sentencepiece_tokenizer.h"

namespace triax {
namespace {

using test::Random;
using Ids = std::vector<int32_t>;

void expect_stored_pieces(const Tokenizer& tokenizer, std::string_view folder) {
  for (const auto& item : test::wordpiece_cases(folder)) {
    Ids ids;
    std::vector<ByteRange> offsets;
    tokenizer.encode(item.text, ids, &offsets);
    EXPECT_EQ(ids, item.ids) << item.text;
    EXPECT_EQ(tokenizer.encode(item.text), item.ids) << item.text;
    ASSERT_EQ(offsets.size(), item.offsets.size()) << item.text;
    for (size_t i = 0; i < offsets.size(); ++i)
      EXPECT_EQ(offsets[i], (ByteRange{item.offsets[i].first, item.offsets[i].second})) << item.text << " " << i;
    EXPECT_EQ(tokenizer.decode(ids), item.decoded) << item.text;
  }
}

TEST(SentencePiece, GivesIdsOffsetsAndTextOfTheOriginal) {
  for (const char* folder : {"sentencepiece-unigram", "sentencepiece-bpe"}) {
    const auto tokenizer = load_tokenizer(test::data_path(folder));
    expect_stored_pieces(*tokenizer, folder);
    const TemporaryDirectory directory;  // and so does what is written
    save_tokenizer(*tokenizer, directory.path());
    expect_stored_pieces(*load_tokenizer(directory.path()), folder);
    EXPECT_EQ(read_file(directory.path() / "tokenizer.model"), read_file(test::data_path(folder) / "tokenizer.model"));
  }
}

TEST(SentencePiece, KnowsItsTokens) {
  const auto t = load_tokenizer(test::data_path("sentencepiece-unigram/tokenizer.model"));
  EXPECT_EQ(t->kind(), "SentencePiece Unigram");
  EXPECT_EQ(t->vocab_size(), 800);
  const SpecialTokens& special = t->special_tokens();
  EXPECT_EQ(special.unk, 0);
  EXPECT_EQ(special.bos, 1);
  EXPECT_EQ(special.eos, 2);
  EXPECT_EQ(special.eod, 2);
  EXPECT_EQ(special.pad, 3);
  ASSERT_TRUE(special.cls && special.sep && special.mask);
  EXPECT_TRUE(t->is_special(*special.cls));
  EXPECT_EQ(t->token_text(*special.mask), "[MASK]");
  const auto the = t->id_of("▁the");
  ASSERT_TRUE(the.has_value());
  EXPECT_EQ(t->token_bytes(*the), " the");
  EXPECT_TRUE(t->starts_word(*the));
  Ids ids;
  t->encode_with_special("[CLS]the</s>", ids);
  EXPECT_EQ(ids, (Ids{*special.cls, *the, 2}));
  EXPECT_EQ(t->decode(ids, {.skip_special = true}), "the");
  EXPECT_EQ(encode_inputs(*t, "the", "the")[0].ids, (Ids{*special.cls, *the, *special.sep, *the, *special.sep}));
  EXPECT_EQ(load_tokenizer(test::data_path("sentencepiece-bpe"))->kind(), "SentencePiece BPE");
}

TEST(SentencePiece, BeginAndEndAsTheCompanionSays) {
  const TemporaryDirectory directory;
  write_file_atomic(directory.path() / "some.model", read_file(test::data_path("sentencepiece-bpe/tokenizer.model")));
  write_file_atomic(directory.path() / "tokenizer_config.json", R"({"add_bos_token": true, "add_eos_token": true})");
  const auto t = load_tokenizer(directory.path());
  const auto the = t->id_of("▁the");
  ASSERT_TRUE(the.has_value());
  EXPECT_EQ(encode_inputs(*t, "the", "the")[0].ids, (Ids{1, *the, 2, 1, *the, 2}));
}

TEST(SentencePiece, TakesAnyBytes) {
  for (const char* folder : {"sentencepiece-unigram", "sentencepiece-bpe"}) {
    const auto t = load_tokenizer(test::data_path(folder));
    Random random(71);
    for (int i = 0; i < 300; ++i) {
      const std::string bytes = test::random_bytes(random, random.below(60));
      Ids ids;
      std::vector<ByteRange> offsets;
      t->encode(bytes, ids, &offsets);
      ASSERT_EQ(ids.size(), offsets.size());
      for (const ByteRange& range : offsets) {
        EXPECT_LE(range.begin, range.end);
        EXPECT_LE(range.end, static_cast<int64_t>(bytes.size()));
      }
      t->decode(ids);
    }
  }
}

bool can_use(const std::string& model) {
  try {
    const auto tokenizer = text::parse_sentencepiece({"none/tokenizer.model", model});
    tokenizer->decode(tokenizer->encode("The ﬁ e\u0301 quick \xFF\u3042\u3044 <0x0A>"));
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST(SentencePiece, DamagedFilesDoNoHarm) {
  for (const char* folder : {"sentencepiece-unigram", "sentencepiece-bpe"}) {
    const std::string good = read_file(test::data_path(folder) / "tokenizer.model");
    EXPECT_TRUE(can_use(good));
    Random random(72);
    for (int i = 0; i < 100; ++i) can_use(good.substr(0, random.below(static_cast<uint32_t>(good.size()))));
    for (int i = 0; i < 400; ++i) {
      std::string damaged = good;
      for (uint32_t k = 1 + random.below(4); k > 0; --k) {
        // The specifications of the trainer and the normalizer are at the end.
        const auto size = static_cast<uint32_t>(damaged.size());
        const uint32_t at = random.below(2) != 0 ? random.below(size) : size - 1 - random.below(3000);
        damaged[at] = static_cast<char>(random.below(256));
      }
      can_use(damaged);
    }
  }
}

TEST(SentencePiece, HostileFilesAreErrors) {
  const auto error = [](const std::string& bytes) -> std::string {
    try {
      text::parse_sentencepiece_model("m", bytes);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  using namespace std::string_literals;
  EXPECT_EQ(error(""), "m: holds no pieces; is it a SentencePiece model?");
  EXPECT_EQ(error("\x0A\xFF\xFF\xFF\xFF\x0F"s), "m: is cut off, or no SentencePiece model (a field of 4294967295 bytes, 0 are left)");
  EXPECT_EQ(error("hello"), "m: is not a SentencePiece model, or is damaged (field 13 has the wire type 4)");
  EXPECT_EQ(error(std::string(20, '\xFF')), "m: is not a SentencePiece model, or is damaged (a number of more than 64 bits)");
  const std::string nan = "\x0A\x08\x0A\x01\x61\x15\x00\x00\xC0\x7F"s;
  EXPECT_EQ(error(nan), "m: piece 0 (\"a\") has the score nan");
  EXPECT_EQ(error("\x0A\x03\x0A\x01\x61\x12\x02\x18\x03"s),
            "m: is a model of type 3 (3: word, 4: character); Unigram and BPE are supported");
  // A trie whose root points beyond its end.
  std::string charsmap(4 + 1024 + 1, '\0');
  const uint32_t size = 1024, root = 1u << 20;
  std::memcpy(charsmap.data(), &size, 4);
  std::memcpy(charsmap.data() + 4, &root, 4);
  const auto model = [](const std::string& map) { return "\x0A\x03\x0A\x01\x61\x1A\x88\x08\x12\x85\x08" + map; };
  EXPECT_EQ(error(model(charsmap)), "m: the table of its normalizer (precompiled_charsmap) is damaged");
  const uint32_t harmless = 0;
  std::memcpy(charsmap.data() + 4, &harmless, 4);
  EXPECT_EQ(error(model(charsmap)), "no error");
}

TEST(SentencePiece, UnigramJsonNeedsItsModel) {
  const TemporaryDirectory directory;
  save_tokenizer(*load_tokenizer(test::data_path("sentencepiece-unigram")), directory.path());
  EXPECT_EQ(load_tokenizer(directory.path() / "tokenizer.json")->kind(), "SentencePiece Unigram");
  std::filesystem::remove(directory.path() / "tokenizer.model");
  EXPECT_THROW(load_tokenizer(directory.path()), Error);
}

}  // namespace
}  // namespace triax
