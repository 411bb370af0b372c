// Reading and writing tokenizer files: what is right comes back the same, what is wrong is one clear error.
#include <gtest/gtest.h>

#include <functional>

#include "text/fixture.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/text/bpe_tokenizer.h"
#include "triax/text/tokenizer.h"

namespace triax {
namespace {

namespace fs = std::filesystem;
using test::Random;

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_equal(const Tokenizer& a, const Tokenizer& b) {
  ASSERT_EQ(a.vocab_size(), b.vocab_size());
  for (int32_t id = 0; id < a.vocab_size(); ++id) {
    EXPECT_EQ(a.token_text(id), b.token_text(id));
    EXPECT_EQ(a.is_special(id), b.is_special(id));
  }
  EXPECT_EQ(a.special_tokens().eod, b.special_tokens().eod);
  EXPECT_EQ(a.special_tokens().bos, b.special_tokens().bos);
  for (const auto& item : test::bpe_cases().cases) EXPECT_EQ(a.encode(item.text), b.encode(item.text));
}

// A tokenizer.json of the letters a-e, two merges, one special and one ordinary added token.
constexpr std::string_view kTiny = R"({
  "version": "1.0", "truncation": null, "padding": null,
  "added_tokens": [
    {"id": 0, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
    {"id": 9, "content": "[x]", "single_word": false, "lstrip": true, "rstrip": false, "normalized": true, "special": false}],
  "normalizer": null,
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false},
  "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
    "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
    "vocab": {"<|endoftext|>": 0, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "ab": 6, "abc": 7, "\u0120": 8},
    "merges": ["a b", ["ab", "c"]]}})";

std::unique_ptr<Tokenizer> load_text(std::string_view json) {
  return text::parse_tokenizer_json({"no such folder/tokenizer.json", std::string(json)});
}

// kTiny with one part replaced.
std::string error_with(std::string_view from, std::string_view to) {
  std::string json(kTiny);
  const size_t at = json.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  json.replace(at, from.size(), to);
  const std::string message = error_of([&] { load_text(json); });
  const size_t name = message.find("tokenizer.json: ");
  return name == std::string::npos ? message : message.substr(name + 16);
}

TEST(TokenizerFiles, AllThreeWaysToReadGiveTheSame) {
  const fs::path folder = test::data_path("bpe");
  const auto json = load_tokenizer(folder / "tokenizer.json");
  expect_equal(*json, *load_tokenizer(folder));
  expect_equal(*json, *load_tokenizer(folder / "vocab.json"));
  expect_equal(*json, *load_tokenizer(folder / "merges.txt"));
}

TEST(TokenizerFiles, WrittenFilesReadTheSame) {
  const auto original = load_tokenizer(test::data_path("bpe"));
  const TemporaryDirectory directory;
  const fs::path folder = directory.path() / "new" / "folder";
  save_tokenizer(*original, folder);
  expect_equal(*original, *load_tokenizer(folder));
  expect_equal(*original, *load_tokenizer(folder / "vocab.json"));
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) EXPECT_TRUE(fs::exists(folder / name));
  const TemporaryDirectory again;
  save_tokenizer(*load_tokenizer(folder), again.path());
  for (const char* name : {"tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"})
    EXPECT_EQ(read_file(folder / name), read_file(again.path() / name));
}

TEST(TokenizerFiles, AddedTokens) {
  const auto tokenizer = load_text(kTiny);
  EXPECT_EQ(tokenizer->vocab_size(), 10);
  // Ordinary added tokens always count, special ones only when asked for; "[x]" takes the space before it.
  EXPECT_EQ(tokenizer->encode("abc [x]d"), (std::vector<int32_t>{7, 9, 4}));
  std::vector<int32_t> ids;
  tokenizer->encode_with_special("ab<|endoftext|>[x]", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{6, 0, 9}));
  EXPECT_FALSE(tokenizer->is_special(9));
  const TemporaryDirectory directory;
  save_tokenizer(*tokenizer, directory.path());
  EXPECT_EQ(load_tokenizer(directory.path())->encode("abc [x]d"), (std::vector<int32_t>{7, 9, 4}));
}

TEST(TokenizerFiles, SingleWordTokensNeedBorders) {
  std::string json(kTiny);
  const std::string_view from = R"("[x]", "single_word": false, "lstrip": true)";
  json.replace(json.find(from), from.size(), R"("cd", "single_word": true, "lstrip": false)");
  const auto tokenizer = load_text(json);
  EXPECT_EQ(tokenizer->encode("cd cda acd cd"), (std::vector<int32_t>{9, 8, 3, 4, 1, 8, 1, 3, 4, 8, 9}));
}

TEST(TokenizerFiles, PrefixSpace) {
  std::string json(kTiny);
  const std::string_view from = R"("add_prefix_space": false)";
  json.replace(json.find(from), from.size(), R"("add_prefix_space": true)");
  const auto tokenizer = load_text(json);
  EXPECT_EQ(tokenizer->encode("abc"), (std::vector<int32_t>{8, 7}));
  EXPECT_EQ(tokenizer->encode(" abc"), (std::vector<int32_t>{8, 7}));
  EXPECT_EQ(tokenizer->encode("[x]abc"), (std::vector<int32_t>{9, 8, 7}));
  EXPECT_TRUE(tokenizer->encode("").empty());
  std::vector<int32_t> ids;
  std::vector<ByteRange> offsets;
  tokenizer->encode("abcd", ids, &offsets);
  EXPECT_EQ(ids, (std::vector<int32_t>{8, 7, 4}));
  EXPECT_EQ(offsets, (std::vector<ByteRange>{{0, 0}, {0, 3}, {3, 4}}));
}

TEST(TokenizerFiles, RolesComeFromTheCompanions) {
  const TemporaryDirectory directory;
  write_file_atomic(directory.path() / "tokenizer.json", kTiny);
  write_file_atomic(directory.path() / "tokenizer_config.json",
                    R"({"pad_token": {"content": "[x]", "lstrip": true}, "unk_token": "no such token", "eos_token": null})");
  write_file_atomic(directory.path() / "special_tokens_map.json", R"({"bos_token": "a"})");
  const auto tokenizer = load_tokenizer(directory.path());
  EXPECT_EQ(tokenizer->special_tokens().pad, 9);
  EXPECT_EQ(tokenizer->special_tokens().bos, 1);
  EXPECT_EQ(tokenizer->special_tokens().eos, 0);
  EXPECT_EQ(tokenizer->special_tokens().unk, std::nullopt);
}

TEST(TokenizerFiles, MistakesAreNamed) {
  EXPECT_EQ(error_with(R"("model")", R"("modell")"), "has no \"model\"; is it a tokenizer.json?");
  EXPECT_EQ(error_with(R"("type": "BPE")", R"("type": "WordLevel")").substr(0, 43), "model type \"WordLevel\" is not supported; tr");
  EXPECT_EQ(error_with(R"("type": "BPE")", R"("type": "Unigram")").substr(0, 30), "is a Unigram model, which tria");
  EXPECT_EQ(error_with(R"("pre_tokenizer": {"type": "ByteLevel")", R"("pre_tokenizer": {"type": "Metaspace")"),
            "pre_tokenizer \"Metaspace\" is not supported for BPE; triax reads byte-level BPE (ByteLevel, as in GPT-2)");
  EXPECT_EQ(error_with(R"("normalizer": null)", R"("normalizer": {"type": "NFC"})"),
            "normalizer \"NFC\" is not supported with byte-level BPE");
  EXPECT_EQ(error_with(R"("b": 2)", R"("b": 1)"), "token \"b\" has the id 1 of another token");
  EXPECT_EQ(error_with(R"("b": 2)", R"("a": 2)"), "token \"a\" is twice in the vocabulary");
  EXPECT_EQ(error_with(R"("b": 2)", R"("b": -2)"), "the id of token \"b\" must be a number from 0");
  EXPECT_EQ(error_with(R"("b": 2)", R"("b": 2000000000)"), "the id 2000000000 of token \"b\" is too large for this file");
  EXPECT_EQ(error_with(R"("a b")", R"("a f")"), "merge 1: \"f\" is not in the vocabulary");
  EXPECT_EQ(error_with(R"("a b")", R"("b a")"), "merge 1: \"ba\" is not in the vocabulary");
  EXPECT_EQ(error_with(R"("a b")", R"("a b c")"), "merge 1: \"a b c\" must be two tokens with a space between");
  EXPECT_EQ(error_with(R"(["ab", "c"])", R"(["ab"])"), "merge 2: must be \"left right\" or [\"left\", \"right\"]");
  EXPECT_EQ(error_with(R"("id": 0)", R"("id": 3)"), "added token \"<|endoftext|>\" has the id 3, but 0 in the vocabulary");
  EXPECT_EQ(error_with(R"("id": 9)", R"("id": 0)"), "two added tokens have the id 0");
  EXPECT_EQ(error_with(R"("dropout": null)", R"("dropout": 0.1)"),
            "model.dropout makes encoding random and is not supported; set it to null");
  EXPECT_EQ(error_with(R"("fuse_unk": false)", R"("fuse_unk": 1)"), "\"fuse_unk\" must be true or false");
  EXPECT_NE(error_of([] { load_tokenizer("/no/such/folder"); }).find("no such file or folder"), std::string::npos);
  const TemporaryDirectory empty;
  EXPECT_NE(error_of([&] { load_tokenizer(empty.path()); }).find("holds no tokenizer"), std::string::npos);
  write_file_atomic(empty.path() / "vocab.json", "{\"a\": 0}");
  EXPECT_NE(error_of([&] { load_tokenizer(empty.path() / "vocab.json"); }).find("merges.txt: not there"), std::string::npos);
  write_file_atomic(empty.path() / "merges.txt", "#version: 0.2\na b\n");
  EXPECT_NE(error_of([&] { load_tokenizer(empty.path()); }).find("merges.txt: line 2: \"b\" is not in the vocabulary"),
            std::string::npos);
}

// Loads, and uses what was loaded: anything but triax::Error is a bug.
bool try_load(const std::function<std::unique_ptr<Tokenizer>()>& load) {
  try {
    const auto tokenizer = load();
    EXPECT_LE(tokenizer->vocab_size(), 65536);
    std::vector<int32_t> ids;
    tokenizer->encode_with_special("abc [x] <|endoftext|> \xFF deadbeef", ids);
    tokenizer->decode(ids);
    return true;
  } catch (const Error&) {
    return false;
  }
}

bool try_json(std::string_view json) {
  return try_load([&] { return load_text(json); });
}

TEST(TokenizerFiles, TruncatedFilesAreErrors) {
  for (size_t length = 0; length < kTiny.size(); ++length) EXPECT_FALSE(try_json(kTiny.substr(0, length))) << length;
  EXPECT_TRUE(try_json(kTiny));
}

TEST(TokenizerFiles, DamagedFilesDoNoHarm) {
  const std::string good_vocab = R"({"<|endoftext|>":0,"a":1,"b":2,"c":3,"ab":4,"abc":5,"\u0120":6})";
  const std::string good_merges = "#version: 0.2\na b\nab c\n";
  Random random(51);
  const auto damage = [&](std::string text) {
    const uint32_t times = 1 + random.below(3);
    for (uint32_t i = 0; i < times && !text.empty(); ++i) {
      const size_t at = random.below(static_cast<uint32_t>(text.size()));
      switch (random.below(4)) {
        case 0: text[at] = static_cast<char>(random.below(256)); break;
        case 1: text.erase(at, 1 + random.below(8)); break;
        case 2: text.insert(at, text.substr(random.below(static_cast<uint32_t>(text.size())), random.below(20))); break;
        default: text[at] = "0123456789\"{}[],:\\ne"[random.below(20)];
      }
    }
    return text;
  };
  int good = 0;
  for (int i = 0; i < 10000; ++i) {
    good += try_json(damage(std::string(kTiny)));
    const std::string vocab = i % 2 ? good_vocab : damage(good_vocab), merges = i % 2 ? damage(good_merges) : good_merges;
    good += try_load([&] { return text::parse_bpe_files({"none/vocab.json", vocab}, {"none/merges.txt", merges}); });
  }
  EXPECT_GT(good, 0);
  EXPECT_LT(good, 20000);
}

TEST(TokenizerFiles, DeepAndHugeValuesAreErrors) {
  EXPECT_FALSE(try_json(std::string(100000, '[')));
  EXPECT_FALSE(try_json(R"({"model": )" + std::string(100000, '{')));
  EXPECT_TRUE(try_json(R"({"model":{"type":"BPE","vocab":{"a":65535}},"pre_tokenizer":{"type":"ByteLevel"}})"));
  EXPECT_FALSE(try_json(R"({"model":{"type":"BPE","vocab":{"a":65536}},"pre_tokenizer":{"type":"ByteLevel"}})"));
  EXPECT_FALSE(try_json(R"({"model":{"type":"BPE","vocab":{"a":99999999999999999999}},"pre_tokenizer":{"type":"ByteLevel"}})"));
}

}  // namespace
}  // namespace triax
