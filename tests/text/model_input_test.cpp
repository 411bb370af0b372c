#include "triax/text/model_input.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <map>

#include "text/fixture.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/text/bpe_tokenizer.h"
#include "triax/text/wordpiece_tokenizer.h"

namespace triax {
namespace {

using Ids = std::vector<int32_t>;

// The stored ranges are of whole characters, also where a token is part of one.
ByteRange whole_characters(std::string_view text, ByteRange range) {
  const auto inside = [&](int64_t at) {
    return at < static_cast<int64_t>(text.size()) && (text[static_cast<size_t>(at)] & 0xC0) == 0x80;
  };
  while (inside(range.begin)) --range.begin;
  while (inside(range.end)) ++range.end;
  return range;
}

std::string digest_of(const ModelInput& input, const test::InputCase& c) {
  Ids numbers;
  for (size_t i = 0; i < input.ids.size(); ++i) {
    const int8_t segment = input.segments[i];
    const ByteRange offsets =
        segment < 0 ? input.offsets[i] : whole_characters(segment == 0 ? c.first : c.second.value_or(""), input.offsets[i]);
    for (const int64_t number : {int64_t{input.ids[i]}, int64_t{input.types[i]}, int64_t{segment} + 1, offsets.begin, offsets.end})
      numbers.push_back(static_cast<int32_t>(number));
  }
  return fmt::format("{:016x}", test::digest(numbers));
}

std::unique_ptr<Tokenizer> tokenizer_of(const test::InputCase& c) {
  if (c.post_processor.empty()) return load_tokenizer(test::data_path(c.name));
  text::TextFile file{"tokenizer.json", read_file(test::data_path("bpe/tokenizer.json"))};
  const std::string key = "\"post_processor\":";
  const size_t at = file.content.find(key) + key.size();
  file.content.replace(at, file.content.find('}', at) + 1 - at, c.post_processor);
  return text::parse_tokenizer_json(file);
}

TEST(ModelInput, GivesWindowsOfTokenizers) {
  std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
  for (const auto& c : test::input_cases()) {
    auto& tokenizer = tokenizers[c.name];
    if (!tokenizer) tokenizer = tokenizer_of(c);
    const auto what = fmt::format("{}: {} | {} length {} stride {} {} {}", c.name, c.first, c.second.value_or("-"), c.length,
                                  c.stride, c.cut, c.side);
    InputOptions options{.max_length = c.length, .cut = c.cut == "only_second" ? Cut::second : Cut::first};
    if (c.cut == "longest_first") options.cut = Cut::longest;
    options.cut_side = c.side == "left" ? Side::left : Side::right;
    options.windows = !(c.second && options.cut == Cut::longest);
    options.stride = c.stride;
    const auto inputs = encode_inputs(*tokenizer, c.first, c.second, options);
    ASSERT_EQ(inputs.size(), c.windows.size()) << what;
    for (size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_EQ(static_cast<int64_t>(inputs[i].ids.size()), c.windows[i].first) << what;
      EXPECT_EQ(digest_of(inputs[i], c), c.windows[i].second) << what << " window " << i;
      EXPECT_EQ(inputs[i].end, c.windows[i].first);
    }
  }
}

TEST(ModelInput, WindowsCoverTheContextAndLeadBackToIt) {
  const auto tokenizer = load_tokenizer(test::data_path("wordpiece-uncased"));
  std::string context;
  for (const std::string& document : test::corpus()) context += document.substr(0, 200);
  Ids all;
  std::vector<ByteRange> all_offsets;
  tokenizer->encode(context, all, &all_offsets);
  const InputOptions options{.max_length = 64, .cut = Cut::second, .windows = true, .stride = 16};
  const auto inputs = encode_inputs(*tokenizer, "Which fox?", context, options);
  ASSERT_GT(inputs.size(), 10u);
  size_t next = 0;
  for (const ModelInput& input : inputs) {
    EXPECT_LE(input.ids.size(), 64u);
    std::vector<size_t> second;
    for (size_t i = 0; i < input.ids.size(); ++i)
      if (input.segments[i] == 1) second.push_back(i);
    if (next > 0) next -= 16;
    for (const size_t i : second) {
      EXPECT_EQ(input.ids[i], all[next]);
      EXPECT_EQ(input.offsets[i], all_offsets[next]);
      ++next;
    }
  }
  EXPECT_EQ(next, all.size());
}

TEST(ModelInput, Pads) {
  const auto tokenizer = text::parse_vocab_txt({"none/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n"});
  std::vector<ModelInput> inputs = encode_inputs(*tokenizer, "a", "b b");
  inputs.push_back(encode_inputs(*tokenizer, "a [MASK]", {}, {.special_in_text = true})[0]);
  EXPECT_EQ(inputs[0].ids, (Ids{2, 5, 3, 6, 6, 3}));
  EXPECT_EQ(inputs[0].types, (Ids{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(inputs[1].ids, (Ids{2, 5, 4, 3}));
  auto left = inputs;
  pad_inputs(*tokenizer, inputs);
  EXPECT_EQ(inputs[0].ids.size(), 6u);
  EXPECT_EQ(inputs[1].ids, (Ids{2, 5, 4, 3, 0, 0}));
  EXPECT_EQ(inputs[1].begin, 0);
  EXPECT_EQ(inputs[1].end, 4);
  pad_inputs(*tokenizer, left, 7, 4, Side::left);
  EXPECT_EQ(left[1].ids, (Ids{0, 0, 0, 0, 2, 5, 4, 3}));
  EXPECT_EQ(left[1].begin, 4);
  EXPECT_EQ(left[1].end, 8);
  EXPECT_EQ(left[0].segments, (std::vector<int8_t>{-1, -1, -1, 0, -1, 1, 1, -1}));
  EXPECT_EQ(encode_inputs(*tokenizer, "a", {}, {.add_special = false})[0].ids, (Ids{5}));

  const auto bpe = load_tokenizer(test::data_path("bpe"));
  std::vector<ModelInput> unpadded = encode_inputs(*bpe, "some text");
  EXPECT_THROW(pad_inputs(*bpe, unpadded, 100), Error);
}

TEST(ModelInput, RefusesWhatCannotBeCut) {
  const auto tokenizer = load_tokenizer(test::data_path("wordpiece-uncased"));
  const std::string longer = "the quick brown fox jumps over the lazy dog";
  const auto refused = [&](std::optional<std::string_view> second, InputOptions options) {
    EXPECT_THROW(encode_inputs(*tokenizer, longer, second, options), Error);
  };
  refused({}, {.max_length = 2});
  refused({}, {.max_length = 8, .windows = true, .stride = 6});
  refused({}, {.max_length = 8, .windows = true, .stride = -1});
  refused({}, {.max_length = 8, .cut = Cut::second});
  refused(longer, {.max_length = 8, .cut = Cut::second});
  refused(longer, {.max_length = 8, .windows = true});
}

TEST(ModelInput, RefusesBadPostProcessors) {
  for (const char* bad : {R"({"type":"Other"})", R"({"type":"TemplateProcessing"})", R"({"type":"BertProcessing","sep":["a"],"cls":["b",1]})",
                          R"({"type":"BertProcessing","sep":["a",99999999],"cls":["b",1]})", R"({"type":"Sequence","processors":[7]})",
                          R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"X","type_id":0}}],"pair":[],"special_tokens":{}})",
                          R"({"type":"TemplateProcessing","single":[{"Sequence":{"id":"C","type_id":0}}],"pair":[]})",
                          R"({"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":-1}}],"pair":[]})"}) {
    test::InputCase c;
    c.post_processor = bad;
    EXPECT_THROW(tokenizer_of(c), Error) << bad;
  }
}

}  // namespace
}  // namespace triax
