// Column sums over many rows: the rows are cut into pieces that depend only on the shape, each
// piece sums its own, and the pieces' sums are added in order. The same bits on any number of
// threads.
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "triax/base/parallel.h"
#include "triax/kernels/cpu/row_kernels.h"
#include "triax/kernels/cpu/rows.h"
#include "triax/tensor/tensor.h"

namespace triax::cpu {

// body(row_begin, row_end, sums) for every piece; sums [width] is zero at first, and what the body
// adds to it is added in the end to the totals, each of `cols` sums: sums holds theirs one after
// the other. At most 64 pieces, so that the buffer (kept by the calling thread) stays within 64
// rows.
template <typename Body>
void sum_over_rows(int64_t rows, int64_t cols, std::initializer_list<float*> totals,
                   const Body& body) {
  const auto width = static_cast<int64_t>(totals.size()) * cols;
  const int64_t grain = std::max(row_grain(cols), (rows + 63) / 64);
  const int64_t pieces = (rows + grain - 1) / grain;
  static thread_local Buffer buffer;
  const auto bytes = static_cast<size_t>(pieces * width) * sizeof(float);
  if (buffer.bytes() < bytes) buffer = Buffer(bytes);
  auto* partial = static_cast<float*>(buffer.data());
  parallel_pieces(pieces, [&](int64_t piece) {
    float* sums = partial + piece * width;
    std::memset(sums, 0, static_cast<size_t>(width) * sizeof(float));
    body(piece * grain, std::min(rows, (piece + 1) * grain), sums);
  });
  constexpr int64_t kColumns = 1024;
  parallel_for(cols, kColumns, [&](int64_t begin, int64_t end) {
    const float* from = partial + begin;
    for (float* total : totals) {
      add_columns(from, width, pieces, end - begin, total + begin);
      from += cols;
    }
  });
}

}  // namespace triax::cpu
