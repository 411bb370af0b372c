// Cuts text into the words that byte-level BPE works on, as the pattern of GPT-2 does (Radford et al.
// 2019, "Language models are unsupervised multitask learners", section 2.2):
//
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// Written out by hand: runs of ASCII letters, eight bytes a step, are nearly all of most text. Bytes
// that are not UTF-8 count as symbols, one by one, so that any input is cut and none is lost.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace triax::text {

static_assert(std::endian::native == std::endian::little, "ascii_letters_end() reads bytes from low to high");

namespace detail {
// The end of the word at `begin`, for every case; gpt2_word_end() below is its fast front.
size_t gpt2_word_end_any(std::string_view text, size_t begin);
}  // namespace detail

// The end of the run of ASCII letters that begins at `at`. Sets `more` where the run may go on: at a
// byte beyond ASCII, or within 8 bytes of the end of the text.
inline size_t ascii_letters_end(std::string_view text, size_t at, bool& more) {
  constexpr uint64_t kOnes = 0x0101010101010101u, kHigh = 0x80 * kOnes;
  for (; at + 8 <= text.size(); at += 8) {
    uint64_t bytes;
    std::memcpy(&bytes, text.data() + at, 8);
    const uint64_t lower = (bytes | 0x20 * kOnes) & ~kHigh;
    const uint64_t from_a = lower + (0x80 - 'a') * kOnes;
    const uint64_t past_z = lower + (0x80 - 'z' - 1) * kOnes;
    const uint64_t others = (from_a & ~past_z & ~bytes & kHigh) ^ kHigh;
    if (others != 0) {
      const int bit = std::countr_zero(others);
      more = (bytes >> bit & 1) != 0;  // the high bit of that byte itself: not ASCII
      return at + static_cast<size_t>(bit) / 8;
    }
  }
  more = true;
  return at;
}

// The end of the word that begins at `begin` (a word's begin; begin < text.size()).
inline size_t gpt2_word_end(std::string_view text, size_t begin) {
  const size_t letters = begin + (text[begin] == ' ' ? 1 : 0);
  bool more = false;
  const size_t end = ascii_letters_end(text, letters, more);
  if (end > letters && !more) [[likely]]
    return end;
  return detail::gpt2_word_end_any(text, begin);
}

// A position in (from, text.size()] where the text can be cut without changing its words on either
// side: right before white space that follows something else. text.size() if there is none.
size_t safe_cut(std::string_view text, size_t from);

}  // namespace triax::text
