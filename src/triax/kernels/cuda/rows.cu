// Kernels that are bound by memory: element by element, row by row, column sums. All read and write 16 bytes at a time
// where rows are aligned, and add up in an order that depends on the shape only.
#include "triax/kernels/cuda/device_code.h"

namespace triax::TRIAX_GPU {
namespace {

constexpr int kRowsOfBlock = kThreads / kWarp;  // a warp a row

template <typename T>
__device__ inline T* row_of(const Matrix& matrix, int64_t row) {
  return static_cast<T*>(matrix.data) + row * matrix.stride;
}

// ---- element by element: body.at<n>(row, column) for n neighbouring columns

template <typename Body>
__global__ void __launch_bounds__(kThreads) elements(Body body, int64_t cols, uint32_t blocks_per_row, bool vector) {
  const int64_t row = blockIdx.x / blocks_per_row;
  const int64_t col = (int64_t{blockIdx.x % blocks_per_row} * kThreads + threadIdx.x) * kPack;
  if (vector && col + kPack <= cols) return body.template at<kPack>(row, col);
  for (int64_t c = col; c < col + kPack && c < cols; ++c) body.template at<1>(row, c);
}

template <typename Body>
void for_elements(void* stream, const Area& area, const Body& body) {
  const uint32_t blocks_per_row = ceil_div(area.cols, int64_t{kThreads} * kPack);
  launch(elements<Body>, {static_cast<uint32_t>(area.rows) * blocks_per_row}, kThreads, 0, stream, body, area.cols,
         blocks_per_row, area.vector);
}

__device__ inline float gelu(bool erf, float x) {
  if (erf) return 0.5f * x * (1.0f + erff(x * 0.70710678f));
  return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
}

__device__ inline float gelu_slope(bool erf, float x) {
  if (erf) return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
  const float t = tanhf(0.79788456f * (x + 0.044715f * x * x * x));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.79788456f * (1.0f + 3 * 0.044715f * x * x);
}

// y = activation(x + bias), with x + bias kept in pre where that is wanted.
template <typename T>
struct ActivationForward {
  Matrix x, pre, y;
  const float* bias;
  bool erf, linear;
  template <int kCount>
  __device__ void at(int64_t row, int64_t col) const {
    float v[kCount], b[kCount];
    load<kCount>(row_of<const T>(x, row) + col, v);
    if (bias) {
      load<kCount>(bias + col, b);
      for (int i = 0; i < kCount; ++i) v[i] += b[i];
    }
    if (pre.data) store<kCount>(v, row_of<T>(pre, row) + col);
    if (!linear)
      for (int i = 0; i < kCount; ++i) v[i] = gelu(erf, v[i]);
    store<kCount>(v, row_of<T>(y, row) + col);
  }
};

template <typename T>
struct ActivationBackward {
  Matrix x, dy, dx;
  bool erf;
  template <int kCount>
  __device__ void at(int64_t row, int64_t col) const {
    float v[kCount], up[kCount];
    load<kCount>(row_of<const T>(x, row) + col, v);
    load<kCount>(row_of<const T>(dy, row) + col, up);
    for (int i = 0; i < kCount; ++i) up[i] *= gelu_slope(erf, v[i]);
    store<kCount>(up, row_of<T>(dx, row) + col);
  }
};

template <typename From, typename To>
struct Convert {
  Matrix src, dst;
  template <int kCount>
  __device__ void at(int64_t row, int64_t col) const {
    float v[kCount];
    load<kCount>(row_of<const From>(src, row) + col, v);
    store<kCount>(v, row_of<To>(dst, row) + col);
  }
};

// x = a x + b y + c, y and x only read where their factor is not 0.
template <typename T>
struct Linear {
  Matrix x, y;
  float a, b, c;
  template <int kCount>
  __device__ void at(int64_t row, int64_t col) const {
    float v[kCount], w[kCount];
    for (int i = 0; i < kCount; ++i) v[i] = c;
    if (a != 0) {
      load<kCount>(row_of<const T>(x, row) + col, v);
      for (int i = 0; i < kCount; ++i) v[i] *= a;
    }
    if (y.data) {
      load<kCount>(row_of<const T>(y, row) + col, w);
      for (int i = 0; i < kCount; ++i) v[i] = fmaf(b, w[i], v[i]);
    }
    store<kCount>(v, row_of<T>(x, row) + col);
  }
};

// The CPU's arithmetic, operation for operation.
template <typename Copy>
struct AdamWUpdate {
  AdamW f;
  float* param;
  const float* grad;
  float *m, *v;
  Copy* copy;
  template <int kCount>
  __device__ void at(int64_t, int64_t col) const {
    float p[kCount], g[kCount], mean[kCount], square[kCount];
    load<kCount>(param + col, p);
    load<kCount>(grad + col, g);
    load<kCount>(m + col, mean);
    load<kCount>(v + col, square);
    for (int i = 0; i < kCount; ++i) {
      const float scaled = g[i] * f.gradient_scale;
      mean[i] = fmaf(f.beta1, mean[i], f.grad1 * scaled);
      square[i] = fmaf(f.beta2, square[i], f.grad2 * scaled * scaled);
      const float step = f.rate * mean[i] / fmaf(sqrtf(square[i]), f.root, f.epsilon);
      p[i] = fmaf(p[i], f.keep, -step);
    }
    store<kCount>(mean, m + col);
    store<kCount>(square, v + col);
    store<kCount>(p, param + col);
    if (copy) store<kCount>(p, copy + col);
  }
};

struct RescaleSums {
  const float *from, *to;
  float* sum;
  template <int kCount>
  __device__ void at(int64_t, int64_t col) const {
    for (int64_t i = col; i < col + kCount; ++i) sum[i] *= expf(from[i] - to[i]);
  }
};

struct TokenLosses {
  float *row_max, *row_sum;
  const float *target, *weight;
  float scale;
  float* losses;
  template <int kCount>
  __device__ void at(int64_t, int64_t col) const {
    for (int64_t i = col; i < col + kCount; ++i) {
      row_max[i] += logf(row_sum[i]);
      losses[i] = row_max[i] - target[i];
      row_sum[i] = weight[i] * scale;
    }
  }
};

// ---- dropout and what is added around it: a warp for 256 columns of a row, two blocks of a mask. Lane l draws the
// numbers of column l % 16 of its block; eight ballots bring each lane those of its own eight columns.

__device__ inline uint32_t mask_of_pack(const Mask& mask, int64_t row, int64_t first_col, int lane) {
  const int half = lane / 16, within = lane % 16;
  const PhiloxBlock numbers = dropout_numbers(mask, row + mask.row_offset, (first_col + mask.col_offset) / 128 + half,
                                              static_cast<uint32_t>(within));
  uint32_t kept = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const uint32_t all = __ballot_sync(~0u, keeps(mask, numbers, j));
    if (within / 2 == j) kept = all;
  }
  return (kept >> (16 * half + 8 * (within % 2))) & 0xFFu;
}

template <int kCount, typename T>
__device__ inline void dropout_add_at(const DropoutAdd& o, int64_t row, int64_t col, const T* table,
                                      const float (&factor)[kCount]) {
  float v[kCount], w[kCount];
  load<kCount>(row_of<const T>(o.x, row) + col, v);
  if (o.bias) {
    load<kCount>(o.bias + col, w);
    for (int i = 0; i < kCount; ++i) v[i] += w[i];
  }
  if (table) {
    load<kCount>(table + col, w);
    for (int i = 0; i < kCount; ++i) v[i] += w[i];
  }
  for (int i = 0; i < kCount; ++i) v[i] *= factor[i];
  if (o.residual.data) {
    load<kCount>(row_of<const T>(o.residual, row) + col, w);
    for (int i = 0; i < kCount; ++i) v[i] += w[i];
  }
  store<kCount>(v, row_of<T>(o.out, row) + col);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) dropout_add_kernel(DropoutAdd o, Area area, uint32_t chunks) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t warp = int64_t{blockIdx.x} * kRowsOfBlock + threadIdx.x / kWarp;
  const int64_t row = warp / chunks, first = warp % chunks * (kWarp * kPack);
  if (row >= area.rows) return;
  const T* table = nullptr;
  if (o.positions) {
    const int32_t at = o.positions[row];
    if (at >= 0 && at < o.positions_end) table = row_of<const T>(o.table, at);
  }
  const int64_t col = first + lane * kPack;
  const bool by_warp = o.mask.active && o.mask.col_offset % 128 == 0;
  const uint32_t kept = by_warp ? mask_of_pack(o.mask, row, first, lane) : 0;
  if (area.vector && col + kPack <= area.cols && (by_warp || !o.mask.active)) {
    float factor[kPack];
    for (int i = 0; i < kPack; ++i) factor[i] = !o.mask.active ? 1.0f : kept >> i & 1 ? o.mask.scale : 0.0f;
    return dropout_add_at<kPack>(o, row, col, table, factor);
  }
  for (int64_t c = col; c < col + kPack && c < area.cols; ++c) {
    float factor[1] = {1.0f};
    if (o.mask.active) factor[0] = dropout_factor(o.mask, row + o.mask.row_offset, c + o.mask.col_offset);
    dropout_add_at<1>(o, row, c, table, factor);
  }
}

// ---- column sums: a block has 256 columns of a chunk of rows, its eight warps every eighth row; then the chunks are
// added in order

constexpr int kColumnsOfBlock = kWarp * kPack;
constexpr int64_t kMaxChunks = 128;

// Of x times its dropout mask, which is also written to dx where that is wanted.
template <typename T>
struct ColumnSums {
  static constexpr int kSums = 1;
  Matrix x, dx;
  Mask mask;
  // By all lanes of a warp, for the 256 columns from first_col on: what of this lane's are kept.
  __device__ uint32_t prepare(int64_t row, int64_t first_col, int lane) const {
    return mask.active && mask.col_offset % 128 == 0 ? mask_of_pack(mask, row, first_col, lane) : 0;
  }
  template <int kCount>
  __device__ void add(int64_t row, int64_t col, uint32_t kept, float (&sums)[kSums][kPack], int at) const {
    float v[kCount];
    load<kCount>(row_of<const T>(x, row) + col, v);
    for (int i = 0; mask.active && i < kCount; ++i)
      v[i] *= mask.col_offset % 128 != 0 ? dropout_factor(mask, row + mask.row_offset, col + i + mask.col_offset)
              : kept >> (at + i) & 1     ? mask.scale
                                         : 0.0f;
    if (dx.data) store<kCount>(v, row_of<T>(dx, row) + col);
    for (int i = 0; i < kCount; ++i) sums[0][at + i] += v[i];
  }
};

template <typename T>
struct NormSums {
  static constexpr int kSums = 2;
  Matrix dy, x;
  const float *mean, *rstd;
  __device__ uint32_t prepare(int64_t, int64_t, int) const { return 0; }
  template <int kCount>
  __device__ void add(int64_t row, int64_t col, uint32_t, float (&sums)[kSums][kPack], int at) const {
    float up[kCount], v[kCount];
    load<kCount>(row_of<const T>(dy, row) + col, up);
    load<kCount>(row_of<const T>(x, row) + col, v);
    const float centre = mean[row], factor = rstd[row];
    for (int i = 0; i < kCount; ++i) {
      sums[0][at + i] = fmaf(up[i], (v[i] - centre) * factor, sums[0][at + i]);
      sums[1][at + i] += up[i];
    }
  }
};

template <typename Body>
__global__ void __launch_bounds__(kThreads) column_chunks(Body body, Area area, int64_t chunk_rows, float* partial) {
  constexpr int kSums = Body::kSums;
  __shared__ float parts[kRowsOfBlock][kSums][kColumnsOfBlock];
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int64_t first = int64_t{blockIdx.x} * kColumnsOfBlock, col = first + lane * kPack;
  const int64_t begin = int64_t{blockIdx.y} * chunk_rows;
  const int64_t end = begin + chunk_rows < area.rows ? begin + chunk_rows : area.rows;
  float sums[kSums][kPack] = {};
  const bool vector = area.vector && col + kPack <= area.cols;
  for (int64_t row = begin + warp; row < end; row += kRowsOfBlock) {
    const uint32_t kept = body.prepare(row, first, lane);
    if (vector) {
      body.template add<kPack>(row, col, kept, sums, 0);
    } else {
      for (int i = 0; i < kPack && col + i < area.cols; ++i) body.template add<1>(row, col + i, kept, sums, i);
    }
  }
  for (int s = 0; s < kSums; ++s)
    for (int i = 0; i < kPack; ++i) parts[warp][s][lane * kPack + i] = sums[s][i];
  __syncthreads();
  const int64_t mine = first + threadIdx.x;
  if (mine >= area.cols) return;
  for (int s = 0; s < kSums; ++s) {
    float sum = 0;
    for (int w = 0; w < kRowsOfBlock; ++w) sum += parts[w][s][threadIdx.x];
    partial[(int64_t{blockIdx.y} * kSums + s) * area.cols + mine] = sum;
  }
}

__global__ void __launch_bounds__(kThreads) add_chunks(const float* partial, int64_t chunks, int sums, int64_t cols,
                                                       float* first, float* second) {
  const int64_t col = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (col >= cols) return;
  const auto s = static_cast<int64_t>(blockIdx.y);
  float sum = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[(chunk * sums + s) * cols + col];
  (s == 0 ? first : second)[col] += sum;
}

template <typename Body>
void sum_columns(void* stream, const Scratch& scratch, const Area& area, const Body& body, float* first, float* second) {
  const int64_t most = static_cast<int64_t>(scratch.bytes / sizeof(float)) / (Body::kSums * area.cols);
  int64_t chunks = (area.rows + 31) / 32;
  if (chunks > kMaxChunks) chunks = kMaxChunks;
  if (chunks > most) chunks = most;
  const int64_t chunk_rows = (area.rows + chunks - 1) / chunks;
  chunks = (area.rows + chunk_rows - 1) / chunk_rows;
  auto* partial = static_cast<float*>(scratch.data);
  launch(column_chunks<Body>, {ceil_div(area.cols, kColumnsOfBlock), static_cast<uint32_t>(chunks)}, kThreads, 0, stream,
         body, area, chunk_rows, partial);
  launch(add_chunks, {ceil_div(area.cols, kThreads), Body::kSums}, kThreads, 0, stream, partial, chunks, Body::kSums,
         area.cols, first, second);
}

// ---- sums to one number, in double

constexpr int64_t kSquaresOfBlock = int64_t{kThreads} * kPack * 8;

template <typename T>
__global__ void __launch_bounds__(kThreads) squares(Matrix x, Area area, uint32_t blocks_per_row, double* partial) {
  const int64_t row = blockIdx.x / blocks_per_row, begin = int64_t{blockIdx.x % blocks_per_row} * kSquaresOfBlock;
  const int64_t count = begin + kSquaresOfBlock < area.cols ? kSquaresOfBlock : area.cols - begin;
  const T* from = row_of<const T>(x, row) + begin;
  double sum = 0;
  for_columns<kThreads>(count, area.vector, static_cast<int>(threadIdx.x), [&](auto size, int64_t c) {
    float v[decltype(size)::value];
    load<decltype(size)::value>(from + c, v);
    for (const float value : v) sum += static_cast<double>(value) * static_cast<double>(value);
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) weighted_values(int64_t n, const float* weights, const float* values,
                                                            double* result) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads)
    if (weights[i] != 0) sum += static_cast<double>(weights[i]) * static_cast<double>(values[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) *result = sum;
}

__global__ void __launch_bounds__(kThreads) add_up(const double* partial, int64_t count, double* result) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += partial[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *result = sum;
}

// ---- layer normalisation: a warp a row

template <typename T>
__global__ void __launch_bounds__(kThreads) normalise(Area area, Matrix x, const float* gamma, const float* beta,
                                                      float epsilon, Matrix y, float* means, float* rstds) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t row = int64_t{blockIdx.x} * kRowsOfBlock + threadIdx.x / kWarp;
  if (row >= area.rows) return;
  const T* in = row_of<const T>(x, row);
  T* out = row_of<T>(y, row);
  float sum = 0;
  for_columns<kWarp>(area.cols, area.vector, lane, [&](auto size, int64_t c) {
    float v[decltype(size)::value];
    load<decltype(size)::value>(in + c, v);
    for (const float value : v) sum += value;
  });
  const auto count = static_cast<float>(area.cols);
  const float mean = warp_sum(sum) / count;
  sum = 0;
  for_columns<kWarp>(area.cols, area.vector, lane, [&](auto size, int64_t c) {
    float v[decltype(size)::value];
    load<decltype(size)::value>(in + c, v);
    for (const float value : v) sum = fmaf(value - mean, value - mean, sum);
  });
  const float rstd = 1.0f / sqrtf(warp_sum(sum) / count + epsilon);
  for_columns<kWarp>(area.cols, area.vector, lane, [&](auto size, int64_t c) {
    constexpr int kCount = decltype(size)::value;
    float v[kCount], g[kCount], b[kCount];
    load<kCount>(in + c, v);
    load<kCount>(gamma + c, g);
    load<kCount>(beta + c, b);
    for (int i = 0; i < kCount; ++i) v[i] = fmaf((v[i] - mean) * rstd, g[i], b[i]);
    store<kCount>(v, out + c);
  });
  if (means && lane == 0) means[row] = mean, rstds[row] = rstd;
}

// With xhat = (x - mean) rstd and g = dy gamma:  dx = rstd (g - mean(g) - xhat mean(g xhat)).
template <typename T>
__global__ void __launch_bounds__(kThreads) normalise_backward(Area area, LayerNormBackward o) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t row = int64_t{blockIdx.x} * kRowsOfBlock + threadIdx.x / kWarp;
  if (row >= area.rows) return;
  const T *up = row_of<const T>(o.dy, row), *in = row_of<const T>(o.x, row);
  T* out = row_of<T>(o.dx, row);
  const float mean = o.mean[row], rstd = o.rstd[row];
  float sum = 0, dot = 0;
  for_columns<kWarp>(area.cols, area.vector, lane, [&](auto size, int64_t c) {
    constexpr int kCount = decltype(size)::value;
    float d[kCount], v[kCount], g[kCount];
    load<kCount>(up + c, d);
    load<kCount>(in + c, v);
    load<kCount>(o.gamma + c, g);
    for (int i = 0; i < kCount; ++i) {
      const float of_normal = d[i] * g[i];
      sum += of_normal;
      dot = fmaf(of_normal, v[i] - mean, dot);
    }
  });
  const auto count = static_cast<float>(area.cols);
  sum = warp_sum(sum) / count;
  dot = warp_sum(dot) * rstd / count;
  for_columns<kWarp>(area.cols, area.vector, lane, [&](auto size, int64_t c) {
    constexpr int kCount = decltype(size)::value;
    float d[kCount], v[kCount], g[kCount];
    load<kCount>(up + c, d);
    load<kCount>(in + c, v);
    load<kCount>(o.gamma + c, g);
    for (int i = 0; i < kCount; ++i) d[i] = rstd * (d[i] * g[i] - sum - (v[i] - mean) * rstd * dot);
    if (o.accumulate) {
      load<kCount>(out + c, v);
      for (int i = 0; i < kCount; ++i) d[i] += v[i];
    }
    store<kCount>(d, out + c);
  });
}

// ---- embedding

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

// ---- softmax cross-entropy: a block a row

template <typename T>
__global__ void __launch_bounds__(kThreads) statistics(Area area, Matrix logits, const int32_t* targets,
                                                       Vocabulary vocabulary, float* row_max, float* row_sum,
                                                       float* target_logit) {
  const int64_t row = blockIdx.x;
  const T* x = row_of<const T>(logits, row);
  float most = -INFINITY, sum = 0;
  for_columns<kThreads>(vocabulary.valid, area.vector, static_cast<int>(threadIdx.x), [&](auto size, int64_t c) {
    float v[decltype(size)::value];
    load<decltype(size)::value>(x + c, v);
    float now = most;
    for (const float value : v) now = fmaxf(now, value);
    const float origin = now == -INFINITY ? 0.0f : now;  // NaN goes into the sum all the same
    sum *= most == -INFINITY ? 1.0f : expf(most - origin);
    for (const float value : v) sum += expf(value - origin);
    most = now;
  });
  const float whole = block_max(most);
  sum = block_sum(most == -INFINITY ? sum : sum * expf(most - whole));
  if (threadIdx.x != 0) return;
  row_max[row] = whole;
  row_sum[row] = sum;
  const int64_t column = targets[row] - vocabulary.start;
  target_logit[row] = targets[row] >= 0 && column >= 0 && column < vocabulary.valid ? to_float(x[column]) : 0.0f;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) softmax_gradient(Area area, Matrix logits, const int32_t* targets,
                                                             Vocabulary vocabulary, const float* lse, const float* weight) {
  const int64_t row = blockIdx.x;
  T* x = row_of<T>(logits, row);
  const float of_row = lse[row], share = weight[row];
  const int64_t target = targets[row] >= 0 ? targets[row] - vocabulary.start : -1;
  for_columns<kThreads>(area.cols, area.vector, static_cast<int>(threadIdx.x), [&](auto size, int64_t c) {
    constexpr int kCount = decltype(size)::value;
    float v[kCount];
    load<kCount>(x + c, v);
    // A token without weight has no gradient, whatever its logits are.
    for (int i = 0; i < kCount; ++i)
      v[i] = share == 0 || c + i >= vocabulary.valid ? 0.0f
                                                     : (expf(v[i] - of_row) - (c + i == target ? 1.0f : 0.0f)) * share;
    store<kCount>(v, x + c);
  });
}

uint32_t blocks_of_rows(const Area& area) { return ceil_div(area.rows, kRowsOfBlock); }

}  // namespace

// ---- what the host calls

void activation_forward(void* stream, Type type, bool erf, Area area, Matrix x, Matrix y) {
  with_type(type, [&](auto tag) {
    for_elements(stream, area, ActivationForward<typename decltype(tag)::type>{x, {}, y, nullptr, erf, false});
  });
}

void bias_activation(void* stream, Type type, bool erf, Area area, const float* bias, Matrix pre, Matrix y) {
  with_type(type, [&](auto tag) {
    for_elements(stream, area, ActivationForward<typename decltype(tag)::type>{pre, bias ? pre : Matrix{}, y, bias, erf, false});
  });
}

void add_bias(void* stream, Type type, Area area, const float* bias, Matrix y) {
  with_type(type, [&](auto tag) {
    for_elements(stream, area, ActivationForward<typename decltype(tag)::type>{y, {}, y, bias, false, true});
  });
}

void activation_backward(void* stream, Type type, bool erf, Area area, Matrix x, Matrix dy, Matrix dx) {
  with_type(type, [&](auto tag) {
    for_elements(stream, area, ActivationBackward<typename decltype(tag)::type>{x, dy, dx, erf});
  });
}

void convert(void* stream, Type from, Type to, Area area, Matrix src, Matrix dst) {
  with_type(from, [&](auto tag) {
    with_type(to, [&](auto to_tag) {
      for_elements(stream, area, Convert<typename decltype(tag)::type, typename decltype(to_tag)::type>{src, dst});
    });
  });
}

void fill(void* stream, Type type, Area area, Matrix x, float value) {
  with_type(type, [&](auto tag) { for_elements(stream, area, Linear<typename decltype(tag)::type>{x, {}, 0, 0, value}); });
}

void add_scaled(void* stream, Type type, Area area, float alpha, Matrix x, Matrix y) {
  with_type(type, [&](auto tag) { for_elements(stream, area, Linear<typename decltype(tag)::type>{y, x, 1, alpha, 0}); });
}

void scale(void* stream, Type type, Area area, float alpha, Matrix x) {
  with_type(type, [&](auto tag) { for_elements(stream, area, Linear<typename decltype(tag)::type>{x, x, 0, alpha, 0}); });
}

void adamw_update(void* stream, Area area, const AdamW& factors, float* param, const float* grad, float* m, float* v,
                  Type copy_type, void* copy) {
  if (copy && copy_type == Type::bf16)
    return for_elements(stream, area, AdamWUpdate<Bf16>{factors, param, grad, m, v, static_cast<Bf16*>(copy)});
  for_elements(stream, area, AdamWUpdate<F16>{factors, param, grad, m, v, static_cast<F16*>(copy)});
}

void rescale_sums(void* stream, int64_t n, const float* from, const float* to, float* row_sum) {
  for_elements(stream, {1, n, false}, RescaleSums{from, to, row_sum});
}

void token_losses(void* stream, int64_t n, float* row_max, float* row_sum, const float* target, const float* weight,
                  float loss_scale, float* losses) {
  for_elements(stream, {1, n, false}, TokenLosses{row_max, row_sum, target, weight, loss_scale, losses});
}

void weighted_sum(void* stream, Scratch scratch, int64_t n, const float* weights, const float* values) {
  launch(weighted_values, {1}, kThreads, 0, stream, n, weights, values, static_cast<double*>(scratch.data));
}

void dropout_add(void* stream, Type type, Area area, const DropoutAdd& operands) {
  const uint32_t chunks = ceil_div(area.cols, kWarp * kPack);
  with_type(type, [&](auto tag) {
    launch(dropout_add_kernel<typename decltype(tag)::type>, {ceil_div(area.rows * chunks, kRowsOfBlock)}, kThreads, 0,
           stream, operands, area, chunks);
  });
}

void add_column_sums(void* stream, Scratch scratch, Type type, Area area, Matrix x, const Mask& mask, Matrix dx,
                     float* sums) {
  with_type(type, [&](auto tag) {
    sum_columns(stream, scratch, area, ColumnSums<typename decltype(tag)::type>{x, dx, mask}, sums, nullptr);
  });
}

size_t sum_of_squares_scratch(Area area) {
  return static_cast<size_t>(area.rows) * ceil_div(area.cols, kSquaresOfBlock) * sizeof(double);
}

void sum_of_squares(void* stream, Scratch scratch, Type type, Area area, Matrix x, double* result) {
  auto* partial = static_cast<double*>(scratch.data);
  const uint32_t blocks_per_row = ceil_div(area.cols, kSquaresOfBlock);
  const uint32_t blocks = static_cast<uint32_t>(area.rows) * blocks_per_row;
  with_type(type, [&](auto tag) {
    launch(squares<typename decltype(tag)::type>, {blocks}, kThreads, 0, stream, x, area, blocks_per_row, partial);
  });
  launch(add_up, {1}, kThreads, 0, stream, static_cast<const double*>(partial), static_cast<int64_t>(blocks), result);
}

void layernorm_forward(void* stream, Type type, Area area, Matrix x, const float* gamma, const float* beta, float epsilon,
                       Matrix y, float* mean, float* rstd) {
  with_type(type, [&](auto tag) {
    launch(normalise<typename decltype(tag)::type>, {blocks_of_rows(area)}, kThreads, 0, stream, area, x, gamma, beta,
           epsilon, y, mean, rstd);
  });
}

void layernorm_backward(void* stream, Scratch scratch, Type type, Area area, const LayerNormBackward& o) {
  with_type(type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    // The sums first: dx may be dy.
    sum_columns(stream, scratch, area, NormSums<T>{o.dy, o.x, o.mean, o.rstd}, o.dgamma, o.dbeta);
    launch(normalise_backward<T>, {blocks_of_rows(area)}, kThreads, 0, stream, area, o);
  });
}

void embedding_forward(void* stream, Type type, Area area, const int32_t* ids, Matrix table, int64_t first_row,
                       int64_t table_rows, Matrix out) {
  with_type(type, [&](auto tag) {
    launch(gather_rows<typename decltype(tag)::type>, {blocks_of_rows(area)}, kThreads, 0, stream, area, ids, table,
           first_row, table_rows, out);
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

void softmax_statistics(void* stream, Type type, Area area, Matrix logits, const int32_t* targets, Vocabulary vocabulary,
                        float* row_max, float* row_sum, float* target_logit) {
  with_type(type, [&](auto tag) {
    launch(statistics<typename decltype(tag)::type>, {static_cast<uint32_t>(area.rows)}, kThreads, 0, stream, area, logits,
           targets, vocabulary, row_max, row_sum, target_logit);
  });
}

void cross_entropy_backward(void* stream, Type type, Area area, Matrix logits, const int32_t* targets,
                            Vocabulary vocabulary, const float* lse, const float* weight) {
  with_type(type, [&](auto tag) {
    launch(softmax_gradient<typename decltype(tag)::type>, {static_cast<uint32_t>(area.rows)}, kThreads, 0, stream, area,
           logits, targets, vocabulary, lse, weight);
  });
}

}  // namespace triax::TRIAX_GPU
