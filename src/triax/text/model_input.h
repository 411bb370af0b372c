// Texts, or pairs of texts, as a model takes them: with [CLS] and [SEP] (as the vocabulary's template says), cut to
// a length, in overlapping windows where they are longer, padded. Results are those of Hugging Face `tokenizers`
// (truncation with stride and return of overflowing tokens; padding).
//
//   for (const ModelInput& window : encode_inputs(tokenizer, question, context,
//                                                 {.max_length = 384, .cut = Cut::second, .windows = true, .stride = 128}))
//
// gives what answering questions needs: window.offsets leads each token of the context (window.segments == 1) back
// to the bytes of the context.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "triax/text/tokenizer.h"

namespace triax {

// Which text gives way where max_length is too short for all.
enum class Cut : uint8_t {
  longest,  // the longer one down to the other's length, then both
  first,
  second,
};
enum class Side : uint8_t { left, right };

struct InputOptions {
  int64_t max_length = 0;  // of a window, special tokens included; 0: no limit
  Cut cut = Cut::longest;
  // All of the text that is cut, in as many windows as it takes; false: its beginning only (with cut_side = left:
  // its end). A pair is cut into windows at its first or its second text, not at both.
  bool windows = false;
  int64_t stride = 0;      // tokens that neighbouring windows share
  Side cut_side = Side::right;
  bool add_special = true;     // what the template puts around the texts
  bool special_in_text = false;  // "[MASK]" in a text is that token
};

// One sequence for a model. The vectors have one entry a token.
struct ModelInput {
  static constexpr int8_t kNoSegment = -1;

  std::vector<int32_t> ids;
  std::vector<int32_t> types;      // token type: 0, or 1 for the second text of BERT
  std::vector<int8_t> segments;    // the text a token comes from, 0 or 1; kNoSegment: special tokens, padding
  std::vector<ByteRange> offsets;  // in that text; {0, 0} where there is none
  int64_t begin = 0, end = 0;      // the tokens that are no padding
};

// At least one window, also of empty text. Throws when max_length leaves no room for a token of the text that is to be cut, or
// when stride is not below that room.
std::vector<ModelInput> encode_inputs(const Tokenizer& tokenizer, std::string_view first,
                                      std::optional<std::string_view> second = std::nullopt, const InputOptions& options = {});

// Makes all inputs as long as the longest, or `length` if that is more, rounded up to `multiple`. Padding has the
// type 0. Throws when the vocabulary has no token to pad with.
void pad_inputs(const Tokenizer& tokenizer, std::vector<ModelInput>& inputs, int64_t length = 0, int64_t multiple = 1,
                Side side = Side::right);

}  // namespace triax
