// Texts longer than the model can see, as overlapping windows of tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace triax::tasks {

// Tokens [begin, end) of a text.
struct TokenWindow {
  int64_t begin = 0, end = 0;
  bool operator==(const TokenWindow&) const = default;
};

// Windows of at most `room` tokens over n, each beginning `overlap` tokens before the end of the one
// before. With `starts_word` [n], a window begins at the start of a word, at or before that place, where
// there is one after the beginning of the window before. At least one window, empty when n is 0. Throws
// unless 0 <= overlap < room.
std::vector<TokenWindow> cut_windows(int64_t n, int64_t room, int64_t overlap, std::span<const uint8_t> starts_word = {});

// For each token the window that sees most around it: the one with the larger smaller side, then the
// longer, then the first (Devlin et al. 2019, the reference implementation's "max context").
std::vector<int32_t> best_windows(std::span<const TokenWindow> windows, int64_t n);

}  // namespace triax::tasks
