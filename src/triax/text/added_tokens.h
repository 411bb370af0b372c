// Tokens that are matched in the text before anything else: <|endoftext|>, [MASK], and what users add
// to a vocabulary ("added_tokens" of tokenizer.json).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "triax/text/tokenizer.h"

namespace triax::text {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // only where no word character is beside it
  bool lstrip = false;       // takes the white space on its left
  bool rstrip = false;       // and on its right
  bool normalized = false;   // matched in a second pass, after the others
  bool special = true;       // matched only where special tokens are asked for
};

// A stretch of the text: an added token, or plain text (id -1) between two.
struct Segment {
  size_t begin = 0;
  size_t end = 0;
  int32_t id = -1;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  explicit AddedTokens(std::vector<AddedToken> tokens);

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  // Whether split() can give anything but one plain segment.
  bool any(bool with_special) const { return with_special ? !tokens_.empty() : any_ordinary_; }
  // The segments of the text in order, without empty ones. The leftmost match counts, the longest of
  // those that begin there.
  std::vector<Segment> split(std::string_view text, bool with_special) const;
  // Appends the ids of a text, and where each came from: of added tokens here, of what is between them by
  // `encode_plain(text, base)`, where base is the first byte's place in the whole.
  template <class EncodePlain>
  void encode(std::string_view text, bool with_special, std::vector<int32_t>& ids, std::vector<ByteRange>* offsets,
              EncodePlain&& encode_plain) const {
    if (!any(with_special)) return encode_plain(text, int64_t{0});
    for (const Segment& segment : split(text, with_special)) {
      if (segment.id < 0) {
        encode_plain(text.substr(segment.begin, segment.end - segment.begin), static_cast<int64_t>(segment.begin));
      } else {
        ids.push_back(segment.id);
        if (offsets) offsets->push_back(ByteRange::of(segment.begin, segment.end));
      }
    }
  }

 private:
  void split_pass(std::string_view text, Segment plain, bool with_special, bool normalized,
                  std::vector<Segment>& out) const;
  const AddedToken* match(std::string_view text, bool with_special, bool normalized) const;

  std::vector<AddedToken> tokens_;
  std::array<std::vector<uint32_t>, 256> by_first_byte_;  // indices, longest content first
  bool any_ordinary_ = false;
};

}  // namespace triax::text
