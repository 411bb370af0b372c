#include "triax/text/model_input.h"

#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/numbers.h"
#include "triax/text/input_template.h"

namespace triax {
namespace {

using Part = InputTemplate::Part;

struct Encoded {
  std::vector<int32_t> ids;
  std::vector<ByteRange> offsets;
  int64_t size() const { return static_cast<int64_t>(ids.size()); }
};

struct TokenRange {
  int64_t begin = 0, end = 0;
};

Encoded encode_one(const Tokenizer& tokenizer, std::string_view text, bool special_in_text) {
  Encoded encoded;
  if (special_in_text)
    tokenizer.encode_with_special(text, encoded.ids, &encoded.offsets);
  else
    tokenizer.encode(text, encoded.ids, &encoded.offsets);
  return encoded;
}

// The lengths of two texts that are to be cut to `room` together, the longer one first.
void cut_longest(int64_t& first, int64_t& second, int64_t room) {
  int64_t& shorter = first <= second ? first : second;
  int64_t& longer = first <= second ? second : first;
  longer = std::min(longer, std::max(shorter, room - shorter));
  if (shorter + longer <= room) return;
  shorter = room / 2;
  longer = room - shorter;
}

// The windows of `length` tokens over `total`.
std::vector<TokenRange> cut_windows(int64_t total, int64_t length, const InputOptions& options) {
  if (total <= length) return {{0, total}};
  const bool right = options.cut_side == Side::right;
  if (!options.windows) return {right ? TokenRange{0, length} : TokenRange{total - length, total}};
  check(options.stride >= 0 && options.stride < length,
        "a stride of {} tokens does not fit into windows that have room for {}; make max_length larger or the stride smaller",
        options.stride, length);
  std::vector<TokenRange> ranges;
  const int64_t step = length - options.stride;
  for (int64_t at = 0;; at += step) {
    const int64_t rest = std::min(at + length, total);
    ranges.push_back(right ? TokenRange{at, rest} : TokenRange{total - rest, total - at});
    if (rest == total) return ranges;
  }
}

ModelInput assemble(const std::vector<InputTemplate::Piece>& pieces, const Encoded (&texts)[2], const TokenRange (&ranges)[2],
                    bool add_special) {
  ModelInput input;
  const auto add = [&](int32_t id, int32_t type, int8_t segment, ByteRange offsets) {
    input.ids.push_back(id);
    input.types.push_back(type);
    input.segments.push_back(segment);
    input.offsets.push_back(offsets);
  };
  for (const auto& piece : pieces) {
    if (piece.part == Part::special) {
      if (add_special) add(piece.id, piece.type, ModelInput::kNoSegment, {});
      continue;
    }
    const size_t which = piece.part == Part::first ? 0 : 1;
    for (int64_t i = ranges[which].begin; i < ranges[which].end; ++i) {
      const auto at = static_cast<size_t>(i);
      add(texts[which].ids[at], piece.type, static_cast<int8_t>(which), texts[which].offsets[at]);
    }
  }
  input.end = static_cast<int64_t>(input.ids.size());
  return input;
}

}  // namespace

std::vector<ModelInput> encode_inputs(const Tokenizer& tokenizer, std::string_view first, std::optional<std::string_view> second,
                                      const InputOptions& options) {
  const InputTemplate& around = tokenizer.input_template();
  const auto& pieces = second ? around.pair : around.single;
  Encoded texts[2] = {encode_one(tokenizer, first, options.special_in_text), {}};
  if (second) texts[1] = encode_one(tokenizer, *second, options.special_in_text);
  TokenRange ranges[2] = {{0, texts[0].size()}, {0, texts[1].size()}};

  const auto special = options.add_special ? std::count_if(pieces.begin(), pieces.end(), [](const auto& piece) {
    return piece.part == Part::special;
  }) : 0;
  const int64_t room = options.max_length - special, total = texts[0].size() + texts[1].size();
  if (options.max_length <= 0 || total <= room) return {assemble(pieces, texts, ranges, options.add_special)};
  check(room > 0, "a length of {} tokens leaves no room for text beside the {} special tokens", options.max_length, special);

  std::vector<ModelInput> inputs;
  if (second && options.cut == Cut::longest) {
    check(!options.windows, "a pair is cut into windows at its first or its second text; say which");
    int64_t lengths[2] = {texts[0].size(), texts[1].size()};
    cut_longest(lengths[0], lengths[1], room);
    for (size_t i = 0; i < 2; ++i) ranges[i] = cut_windows(texts[i].size(), lengths[i], options).front();
    inputs.push_back(assemble(pieces, texts, ranges, options.add_special));
    return inputs;
  }
  check(second || options.cut != Cut::second, "there is no second text to cut");
  const size_t which = options.cut == Cut::second ? 1 : 0;
  const int64_t length = room - texts[1 - which].size();
  check(length > 0, "a length of {} tokens is too short: the {} text, which is not to be cut, has {} tokens beside {} special ones",
        options.max_length, which == 0 ? "second" : "first", texts[1 - which].size(), special);
  for (const TokenRange& range : cut_windows(texts[which].size(), length, options)) {
    ranges[which] = range;
    inputs.push_back(assemble(pieces, texts, ranges, options.add_special));
  }
  return inputs;
}

void pad_inputs(const Tokenizer& tokenizer, std::vector<ModelInput>& inputs, int64_t length, int64_t multiple, Side side) {
  check(multiple > 0, "inputs cannot be padded to a multiple of {}", multiple);
  for (const ModelInput& input : inputs) length = std::max(length, static_cast<int64_t>(input.ids.size()));
  length = round_up(length, multiple);
  for (ModelInput& input : inputs) {
    const auto missing = static_cast<size_t>(length) - input.ids.size();
    if (missing == 0) continue;
    const auto pad = tokenizer.special_tokens().pad;
    check(pad.has_value(), "the vocabulary has no token to pad with; add [PAD] or <pad>");
    const bool left = side == Side::left;
    const auto fill = [&](auto& values, auto value) { values.insert(left ? values.begin() : values.end(), missing, value); };
    fill(input.ids, *pad);
    fill(input.types, int32_t{0});
    fill(input.segments, ModelInput::kNoSegment);
    fill(input.offsets, ByteRange{});
    if (left) input.begin += static_cast<int64_t>(missing), input.end += static_cast<int64_t>(missing);
  }
}

}  // namespace triax
