// Rows of tables: looked up, and added to in an order that does not vary.
#include "triax/kernels/cuda/device_code.h"

namespace triax::TRIAX_GPU {
namespace {

template <typename T>
__global__ void __launch_bounds__(kThreads) gather_rows(Area area, const int32_t* ids, Matrix table, int64_t first_row,
                                                        int64_t table_rows, Matrix out) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t token = int64_t{blockIdx.x} * kRowsOfBlock + threadIdx.x / kWarp;
  if (token >= area.rows) return;
  const int64_t row = ids[token] - first_row;
  const bool here = row >= 0 && row < table_rows;
  const T* from = row_of<const T>(table, here ? row : 0);
  T* to = row_of<T>(out, token);
  for_columns<kWarp>(area.cols, area.vector, lane, [&](auto size, int64_t c) {
    float v[decltype(size)::value] = {};
    if (here) load<decltype(size)::value>(from + c, v);
    store<decltype(size)::value>(v, to + c);
  });
}

template <typename T>
__global__ void __launch_bounds__(kThreads) put_rows(Area area, Matrix values, const int32_t* rows, int64_t first_row,
                                                     int64_t table_rows, bool accumulate, Matrix table) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t i = int64_t{blockIdx.x} * kRowsOfBlock + threadIdx.x / kWarp;
  if (i >= area.rows) return;
  const int64_t row = rows[i] - first_row;
  if (row < 0 || row >= table_rows) return;
  const T* from = row_of<const T>(values, i);
  T* to = row_of<T>(table, row);
  for_columns<kWarp>(area.cols, area.vector, lane, [&](auto size, int64_t c) {
    constexpr int kCount = decltype(size)::value;
    float v[kCount], before[kCount] = {};
    load<kCount>(from + c, v);
    if (accumulate) load<kCount>(to + c, before);
    for (int j = 0; j < kCount; ++j) v[j] += before[j];
    store<kCount>(v, to + c);
  });
}

// The tokens of a chunk, sorted by their row of the table and then by their place: row << 32 | token. Chunks are added
// to the table one after the other, so that every element is a sum in an order that does not vary.
constexpr int kSorted = 2048;
constexpr uint64_t kNowhere = ~uint64_t{0};

__global__ void __launch_bounds__(1024) sort_tokens(int64_t n, const int32_t* ids, int64_t first_row, int64_t table_rows,
                                                    uint64_t* sorted) {
  auto* keys = dynamic_shared<uint64_t>();
  const int64_t begin = int64_t{blockIdx.x} * kSorted;
  for (int i = static_cast<int>(threadIdx.x); i < kSorted; i += static_cast<int>(blockDim.x)) {
    const int64_t token = begin + i, row = token < n ? ids[token] - first_row : -1;
    keys[i] = row >= 0 && row < table_rows ? static_cast<uint64_t>(row) << 32 | static_cast<uint64_t>(token) : kNowhere;
  }
  __syncthreads();
  for (int size = 2; size <= kSorted; size *= 2)  // bitonic
    for (int step = size / 2; step > 0; step /= 2) {
      for (int p = static_cast<int>(threadIdx.x); p < kSorted / 2; p += static_cast<int>(blockDim.x)) {
        const int i = 2 * p - p % step, j = i + step;
        const uint64_t a = keys[i], b = keys[j];
        if ((a > b) == ((i & size) == 0)) keys[i] = b, keys[j] = a;
      }
      __syncthreads();
    }
  for (int i = static_cast<int>(threadIdx.x); i < kSorted; i += static_cast<int>(blockDim.x)) sorted[begin + i] = keys[i];
}

// A block for each token that is the first of its row: the row's tokens shared between the warps, 256 columns.
template <typename T>
__global__ void __launch_bounds__(kThreads) add_rows(const uint64_t* sorted, Area area, Matrix dout, float* dtable,
                                                     int64_t dtable_stride) {
  __shared__ float parts[kRowsOfBlock][kColumnsOfBlock];
  const int first = static_cast<int>(blockIdx.x);
  const uint64_t key = sorted[first], row = key >> 32;
  if (key == kNowhere || (first > 0 && sorted[first - 1] >> 32 == row)) return;  // the whole block
  int last = first + 1;
  for (int step = kSorted / 2; step > 0; step /= 2)
    if (last + step <= kSorted && sorted[last + step - 1] >> 32 == row) last += step;
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int64_t begin = int64_t{blockIdx.y} * kColumnsOfBlock, col = begin + lane * kPack;
  const bool vector = area.vector && col + kPack <= area.cols;
  float sums[kPack] = {};
  for (int i = first + warp; i < last; i += kRowsOfBlock) {
    const T* from = row_of<const T>(dout, static_cast<int64_t>(sorted[i] & 0xFFFFFFFFu)) + col;
    if (vector) {
      float v[kPack];
      load<kPack>(from, v);
      for (int j = 0; j < kPack; ++j) sums[j] += v[j];
    } else {
      for (int j = 0; j < kPack && col + j < area.cols; ++j) sums[j] += to_float(from[j]);
    }
  }
  for (int j = 0; j < kPack; ++j) parts[warp][lane * kPack + j] = sums[j];
  __syncthreads();
  const int64_t mine = begin + threadIdx.x;
  if (mine >= area.cols) return;
  float sum = dtable[static_cast<int64_t>(row) * dtable_stride + mine];
  for (int w = 0; w < kRowsOfBlock && first + w < last; ++w) sum += parts[w][threadIdx.x];
  dtable[static_cast<int64_t>(row) * dtable_stride + mine] = sum;
}

}  // namespace

void embedding_forward(void* stream, Type type, Area area, const int32_t* ids, Matrix table, int64_t first_row,
                       int64_t table_rows, Matrix out) {
  with_type(type, [&](auto tag) {
    launch(gather_rows<typename decltype(tag)::type>, {blocks_of_rows(area)}, kThreads, 0, stream, area, ids, table,
           first_row, table_rows, out);
  });
}

void scatter_rows(void* stream, Type type, Area area, Matrix values, const int32_t* rows, int64_t first_row, int64_t table_rows,
                  bool accumulate, Matrix table) {
  with_type(type, [&](auto tag) {
    launch(put_rows<typename decltype(tag)::type>, {blocks_of_rows(area)}, kThreads, 0, stream, area, values, rows, first_row,
           table_rows, accumulate, table);
  });
}

size_t embedding_backward_scratch(int64_t tokens) {
  return static_cast<size_t>(ceil_div(tokens, kSorted)) * kSorted * sizeof(uint64_t);
}

void embedding_backward(void* stream, Scratch scratch, Type type, Area area, Matrix dout, const int32_t* ids,
                        int64_t first_row, int64_t table_rows, float* dtable, int64_t dtable_stride) {
  auto* sorted = static_cast<uint64_t*>(scratch.data);
  const uint32_t chunks = ceil_div(area.rows, kSorted);
  launch(sort_tokens, {chunks}, 1024, kSorted * sizeof(uint64_t), stream, area.rows, ids, first_row, table_rows, sorted);
  with_type(type, [&](auto tag) {
    for (uint32_t chunk = 0; chunk < chunks; ++chunk)
      launch(add_rows<typename decltype(tag)::type>, {kSorted, ceil_div(area.cols, kColumnsOfBlock)}, kThreads, 0, stream,
             static_cast<const uint64_t*>(sorted + int64_t{chunk} * kSorted), area, dout, dtable, dtable_stride);
  });
}

}  // namespace triax::TRIAX_GPU
