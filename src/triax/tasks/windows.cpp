#include "triax/tasks/windows.h"

#include <algorithm>

#include "triax/base/error.h"

namespace triax::tasks {

std::vector<TokenWindow> cut_windows(int64_t n, int64_t room, int64_t overlap, std::span<const uint8_t> starts_word) {
  check(overlap >= 0 && overlap < room, "windows of {} tokens cannot overlap by {}; the overlap must be smaller", room, overlap);
  std::vector<TokenWindow> windows = {{0, std::min(n, room)}};
  while (windows.back().end < n) {
    const int64_t before = windows.back().begin;
    int64_t begin = windows.back().end - overlap;
    if (!starts_word.empty()) {
      int64_t word = begin;
      while (word > before && !starts_word[static_cast<size_t>(word)]) --word;
      if (word > before) begin = word;
    }
    windows.push_back({begin, std::min(n, begin + room)});
  }
  return windows;
}

std::vector<int32_t> best_windows(std::span<const TokenWindow> windows, int64_t n) {
  std::vector<int32_t> best(static_cast<size_t>(n), 0);
  std::vector<double> best_score(static_cast<size_t>(n), -1);
  for (size_t w = 0; w < windows.size(); ++w) {
    const auto [begin, end] = windows[w];
    for (int64_t i = begin; i < end; ++i) {
      const double score = static_cast<double>(std::min(i - begin, end - 1 - i)) + 0.01 * static_cast<double>(end - begin);
      if (score > best_score[static_cast<size_t>(i)]) best_score[static_cast<size_t>(i)] = score, best[static_cast<size_t>(i)] = static_cast<int32_t>(w);
    }
  }
  return best;
}

}  // namespace triax::tasks
