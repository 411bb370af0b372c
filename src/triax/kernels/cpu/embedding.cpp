#include <cstring>
#include <vector>

#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "triax/kernels/cpu/embedding.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "triax/kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

// to[0, cols) += the rows `tokens` of x, in this order.
template <typename T>
HWY_INLINE void add_rows(Block<const T> x, const int32_t* tokens, int64_t count, int64_t cols,
                         float* to) {
  const int64_t whole = cols - cols % (4 * kLanes);
  for (int64_t j = 0; j < whole; j += 4 * kLanes) {
    auto s0 = load_floats(to + j), s1 = load_floats(to + j + kLanes);
    auto s2 = load_floats(to + j + 2 * kLanes), s3 = load_floats(to + j + 3 * kLanes);
    for (int64_t i = 0; i < count; ++i) {
      const T* row = x[tokens[i]] + j;
      s0 = hn::Add(s0, load_floats(row));
      s1 = hn::Add(s1, load_floats(row + kLanes));
      s2 = hn::Add(s2, load_floats(row + 2 * kLanes));
      s3 = hn::Add(s3, load_floats(row + 3 * kLanes));
    }
    store_floats(s0, to + j), store_floats(s1, to + j + kLanes);
    store_floats(s2, to + j + 2 * kLanes), store_floats(s3, to + j + 3 * kLanes);
  }
  for_lanes(cols - whole, [&](int64_t at, auto lanes) HWY_ATTR {
    const int64_t j = whole + at;
    auto sum = load(to + j, lanes);
    for (int64_t i = 0; i < count; ++i) sum = hn::Add(sum, load(x[tokens[i]] + j, lanes));
    store(sum, to + j, lanes);
  });
}

void add_rows_f32(Block<const float> x, const int32_t* tokens, int64_t count, int64_t cols,
                  float* to) {
  add_rows(x, tokens, count, cols, to);
}
void add_rows_bf16(Block<const bf16> x, const int32_t* tokens, int64_t count, int64_t cols,
                   float* to) {
  add_rows(x, tokens, count, cols, to);
}
void add_rows_f16(Block<const f16> x, const int32_t* tokens, int64_t count, int64_t cols,
                   float* to) {
  add_rows(x, tokens, count, cols, to);
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triax::cpu {

HWY_EXPORT(add_rows_f32);
HWY_EXPORT(add_rows_bf16);
HWY_EXPORT(add_rows_f16);

namespace {

// Tokens in the order of their table rows, those of one row in their own order; tokens whose row is
// in another rank's slice are left out. A radix sort, 11 bits a pass.
class TokensByRow {
 public:
  void sort(std::span<const int32_t> ids, int64_t first_row, int64_t num_rows) {
    rows_.clear(), tokens_.clear();
    for (size_t i = 0; i < ids.size(); ++i) {
      const int64_t row = ids[i] - first_row;
      if (row < 0 || row >= num_rows) continue;
      rows_.push_back(static_cast<uint32_t>(row));
      tokens_.push_back(static_cast<int32_t>(i));
    }
    next_rows_.resize(rows_.size()), next_tokens_.resize(rows_.size());
    for (int shift = 0; shift < 32 && num_rows > int64_t{1} << shift; shift += kBits) pass(shift);
    starts_.clear();
    for (size_t i = 0; i < rows_.size(); ++i)
      if (i == 0 || rows_[i] != rows_[i - 1]) starts_.push_back(static_cast<int64_t>(i));
    starts_.push_back(static_cast<int64_t>(rows_.size()));
  }
  int64_t num_runs() const { return static_cast<int64_t>(starts_.size()) - 1; }
  std::span<const int32_t> run(int64_t index) const {
    const auto at = static_cast<size_t>(index);
    const auto begin = static_cast<size_t>(starts_[at]);
    return {tokens_.data() + begin, static_cast<size_t>(starts_[at + 1]) - begin};
  }
  int64_t row(int64_t run) const {
    return rows_[static_cast<size_t>(starts_[static_cast<size_t>(run)])];
  }

 private:
  static constexpr int kBits = 11;
  void pass(int shift) {
    uint32_t places[1 << kBits] = {};
    const auto digit = [shift](uint32_t row) { return row >> shift & ((1u << kBits) - 1); };
    for (const uint32_t row : rows_) ++places[digit(row)];
    uint32_t place = 0;
    for (uint32_t& count : places) place += std::exchange(count, place);
    for (size_t i = 0; i < rows_.size(); ++i) {
      const size_t to = places[digit(rows_[i])]++;
      next_rows_[to] = rows_[i], next_tokens_[to] = tokens_[i];
    }
    rows_.swap(next_rows_), tokens_.swap(next_tokens_);
  }
  std::vector<uint32_t> rows_, next_rows_;
  std::vector<int32_t> tokens_, next_tokens_;
  std::vector<int64_t> starts_;  // of the runs of equal rows, and the end
};

}  // namespace

void check_positions(const Tensor& positions, const Tensor& table) {
  const auto ids = positions.span<int32_t>();
  for (size_t i = 0; i < ids.size(); ++i)
    check(ids[i] >= 0 && ids[i] < table.dim(0),
          "position {} of token {} is outside the table of {} positions", ids[i], i, table.dim(0));
}

void embedding_forward(const Tensor& ids, const Tensor& table, int64_t vocab_start,
                       const Tensor& out) {
  const int64_t cols = out.dim(1);
  with_compute_type(out.dtype(), [&]<typename T>(T) {
    const auto from = block_of<const T>(table);
    const auto to = block_of<T>(out);
    parallel_for(ids.numel(), row_grain(cols), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = ids.data<int32_t>()[i] - vocab_start;
        const size_t bytes = static_cast<size_t>(cols) * sizeof(T);
        if (row >= 0 && row < table.dim(0)) {
          std::memcpy(static_cast<void*>(to[i]), from[row], bytes);
        } else {
          std::memset(static_cast<void*>(to[i]), 0, bytes);
        }
      }
    });
  });
}

// Each row of the table is written by one thread, its tokens in order. A piece is a few rows by
// some of the columns, so that a token that fills half of the batch does not hold up the others.
void embedding_backward(const Tensor& dout, const Tensor& ids, int64_t vocab_start,
                        const Tensor& dtable) {
  static thread_local TokensByRow kept;
  kept.sort(ids.span<int32_t>(), vocab_start, dtable.dim(0));
  const TokensByRow& order = kept;  // the caller's, also in the other threads
  constexpr int64_t kCols = 256, kRuns = 64;
  const int64_t cols = dout.dim(1), across = (cols + kCols - 1) / kCols;
  const int64_t down = (order.num_runs() + kRuns - 1) / kRuns;
  const auto table = block_of<float>(dtable);
  parallel_pieces(down * across, [&](int64_t piece) {
    const int64_t col = piece % across * kCols, count = std::min(kCols, cols - col);
    const int64_t first = piece / across * kRuns, last = std::min(first + kRuns, order.num_runs());
    const Extent e{0, col, 0, count};
    for (int64_t r = first; r < last; ++r) {
      const auto tokens = order.run(r);
      const auto run = [&]<typename T>(T, auto* kernel) {
        kernel(block_of<const T>(dout, e), tokens.data(), static_cast<int64_t>(tokens.size()),
               count, table[order.row(r)] + col);
      };
      if (dout.dtype() == DType::f32) {
        run(float{}, &HWY_DYNAMIC_DISPATCH(add_rows_f32));
      } else if (dout.dtype() == DType::bf16) {
        run(bf16{}, &HWY_DYNAMIC_DISPATCH(add_rows_bf16));
      } else {
        run(f16{}, &HWY_DYNAMIC_DISPATCH(add_rows_f16));
      }
    }
  });
}

void position_dropout_backward(const Tensor& positions, const Dropout& dropout, const Tensor& dx,
                               const Tensor& dtable) {
  check_positions(positions, dtable);
  if (dropout.active()) cpu::bias_dropout_residual_backward(dx, dropout, dx, {});
  cpu::embedding_backward(dx, positions, 0, dtable);
}

}  // namespace triax::cpu
#endif
