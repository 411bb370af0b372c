// Layer normalisation.
#include "triax/kernels/cuda/column_sums.h"

namespace triax::TRIAX_GPU {
namespace {


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
  const float mean = reduce_warp<Sum>(sum) / count;
  sum = 0;
  for_columns<kWarp>(area.cols, area.vector, lane, [&](auto size, int64_t c) {
    float v[decltype(size)::value];
    load<decltype(size)::value>(in + c, v);
    for (const float value : v) sum = fmaf(value - mean, value - mean, sum);
  });
  const float rstd = 1.0f / sqrtf(reduce_warp<Sum>(sum) / count + epsilon);
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

// ---- backward: with xhat = (x - mean) rstd and g = dy gamma,
//   dx = rstd (g - mean(g) - xhat mean(g xhat)),  dgamma = sum over the rows of dy xhat,  dbeta = that of dy.
// Rows that fit into the registers of a team of warps are read once, and their sums of columns stay there too.

constexpr int64_t kMaxBlocks = 256;  // of teams; the same on every GPU, since sums depend on it

// Sums over a team of kWarps warps.
template <int kWarps>
__device__ inline void sum_over_team(float& x, float& y) {
  x = reduce_warp<Sum>(x), y = reduce_warp<Sum>(y);
  if constexpr (kWarps > 1) {
    __shared__ float parts[kThreads / kWarp][2];
    const int warp = static_cast<int>(threadIdx.x / kWarp), first = warp / kWarps * kWarps;
    __syncthreads();
    if (threadIdx.x % kWarp == 0) parts[warp][0] = x, parts[warp][1] = y;
    __syncthreads();
    x = y = 0;
    for (int w = first; w < first + kWarps; ++w) x += parts[w][0], y += parts[w][1];
  }
}

// What a thread has of a row: packs of dy and of xhat.
template <int kPacks>
struct RowPart {
  float up[kPacks][kPack], normal[kPacks][kPack];
};

// The warps that share a row, as one of their threads sees them; with its part of the sums of columns.
template <int kWarps, int kPacks, typename T>
struct Team {
  static constexpr int kThreadsOfRow = kWarps * kWarp, kTeams = kThreads / kThreadsOfRow;
  static constexpr int64_t kMostColumns = int64_t{kThreadsOfRow} * kPacks * kPack;
  const Area& area;
  const LayerNormBackward& o;
  int team = static_cast<int>(threadIdx.x) / kThreadsOfRow, thread = static_cast<int>(threadIdx.x) % kThreadsOfRow;
  float dgamma[kPacks][kPack] = {}, dbeta[kPacks][kPack] = {};

  __device__ int64_t column(int pack) const { return (int64_t{pack} * kThreadsOfRow + thread) * kPack; }

  // Reads a row (none: row < 0), adds it to the sums of columns, and gives the sums of g and of g xhat.
  __device__ void read(int64_t row, RowPart<kPacks>& part, float& sum, float& dot) {
    sum = dot = 0;
    if (row < 0) return;
    const float mean = o.mean[row], rstd = o.rstd[row];
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      float gamma[kPack];
      load_pack(row_of<const T>(o.dy, row), column(p), area.cols, area.vector, part.up[p]);
      load_pack(row_of<const T>(o.x, row), column(p), area.cols, area.vector, part.normal[p]);
      load_pack(o.gamma, column(p), area.cols, area.vector, gamma);
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        float &up = part.up[p][i], &normal = part.normal[p][i];
        normal = (normal - mean) * rstd;
        dbeta[p][i] += up;
        dgamma[p][i] = fmaf(up, normal, dgamma[p][i]);
        up *= gamma[i];
        sum += up;
        dot = fmaf(up, normal, dot);
      }
    }
  }

  __device__ void write(int64_t row, const RowPart<kPacks>& part, float sum, float dot) const {
    if (row < 0) return;
    const float rstd = o.rstd[row];
    T* out = row_of<T>(o.dx, row);
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      float d[kPack], before[kPack] = {};
      if (o.accumulate) load_pack(out, column(p), area.cols, area.vector, before);
#pragma unroll
      for (int i = 0; i < kPack; ++i) d[i] = before[i] + rstd * (part.up[p][i] - sum - part.normal[p][i] * dot);
      store_pack(d, out, column(p), area.cols, area.vector);
    }
  }

  // sums [2, cols] += this team's, or = where it is the first.
  __device__ void add_sums(float* sums) const {
#pragma unroll
    for (int p = 0; p < kPacks; ++p)
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        if (column(p) + i >= area.cols) continue;
        float *of_gamma = sums + column(p) + i, *of_beta = of_gamma + area.cols;
        *of_gamma = (team == 0 ? 0.0f : *of_gamma) + dgamma[p][i];
        *of_beta = (team == 0 ? 0.0f : *of_beta) + dbeta[p][i];
      }
  }
};

template <int kWarps, int kPacks, typename T>
__global__ void __launch_bounds__(kThreads) backward_by_teams(Area area, LayerNormBackward o, int64_t chunk_rows, float* partial) {
  Team<kWarps, kPacks, T> mine{area, o};
  const int64_t begin = int64_t{blockIdx.x} * chunk_rows;
  const int64_t end = begin + chunk_rows < area.rows ? begin + chunk_rows : area.rows;
  for (int64_t first = begin; first < end; first += mine.kTeams) {
    const int64_t row = first + mine.team < end ? first + mine.team : -1;
    RowPart<kPacks> part;
    float sum, dot;
    mine.read(row, part, sum, dot);
    sum_over_team<kWarps>(sum, dot);
    const auto count = static_cast<float>(area.cols);
    mine.write(row, part, sum / count, dot / count);
  }
  auto* sums = dynamic_shared<float>();
  for (int team = 0; team < mine.kTeams; ++team) {
    if (team == mine.team) mine.add_sums(sums);
    __syncthreads();
  }
  for (int64_t i = threadIdx.x; i < 2 * area.cols; i += kThreads) partial[blockIdx.x * 2 * area.cols + i] = sums[i];
}

// False: a row does not fit.
template <int kWarps, int kPacks, typename T>
bool backward_in_teams(void* stream, const Scratch& scratch, const Area& area, const LayerNormBackward& o) {
  using Mine = Team<kWarps, kPacks, T>;
  const size_t bytes = static_cast<size_t>(2 * area.cols) * sizeof(float);
  if (area.cols > Mine::kMostColumns) return false;
  const auto fitting = static_cast<int64_t>(scratch.bytes / bytes);
  const Chunks chunks(area, 2 * Mine::kTeams, fitting < kMaxBlocks ? fitting : kMaxBlocks);
  auto* partial = static_cast<float*>(scratch.data);
  launch(backward_by_teams<kWarps, kPacks, T>, {static_cast<uint32_t>(chunks.count)}, kThreads, bytes, stream, area, o,
         chunks.rows, partial);
  sum_chunks<2>(stream, partial, chunks.count, area.cols, o.dgamma, o.dbeta);
  return true;
}

// ---- wider rows are read twice: for the means of g and g xhat, and column by column

template <typename T>
__global__ void __launch_bounds__(kThreads) mean_gradients(Area area, LayerNormBackward o, float* means) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t row = int64_t{blockIdx.x} * kRowsOfBlock + threadIdx.x / kWarp;
  if (row >= area.rows) return;
  const T *up = row_of<const T>(o.dy, row), *in = row_of<const T>(o.x, row);
  const float mean = o.mean[row];
  float sum = 0, dot = 0;
  for_columns<kWarp>(area.cols, area.vector, lane, [&](auto size, int64_t c) {
    constexpr int kCount = decltype(size)::value;
    float d[kCount], v[kCount], g[kCount];
    load<kCount>(up + c, d);
    load<kCount>(in + c, v);
    load<kCount>(o.gamma + c, g);
    for (int i = 0; i < kCount; ++i) {
      sum = fmaf(d[i], g[i], sum);
      dot = fmaf(d[i] * g[i], v[i] - mean, dot);
    }
  });
  const auto count = static_cast<float>(area.cols);
  sum = reduce_warp<Sum>(sum) / count;
  dot = reduce_warp<Sum>(dot) * o.rstd[row] / count;
  if (lane == 0) means[2 * row] = sum, means[2 * row + 1] = dot;
}

template <typename T>
struct BackwardByColumns {
  static constexpr int kSums = 2;
  LayerNormBackward o;
  const float* means;
  __device__ uint32_t prepare(int64_t, int64_t, int) const { return 0; }
  template <int kCount>
  __device__ void add(int64_t row, int64_t col, uint32_t, float (&sums)[kSums][kPack], int at) const {
    float up[kCount], v[kCount], g[kCount], before[kCount] = {};
    load<kCount>(row_of<const T>(o.dy, row) + col, up);
    load<kCount>(row_of<const T>(o.x, row) + col, v);
    load<kCount>(o.gamma + col, g);
    T* out = row_of<T>(o.dx, row) + col;
    if (o.accumulate) load<kCount>(out, before);
    const float mean = o.mean[row], rstd = o.rstd[row];
    for (int i = 0; i < kCount; ++i) {
      const float normal = (v[i] - mean) * rstd;
      sums[0][at + i] = fmaf(up[i], normal, sums[0][at + i]);
      sums[1][at + i] += up[i];
      v[i] = before[i] + rstd * (up[i] * g[i] - means[2 * row] - normal * means[2 * row + 1]);
    }
    store<kCount>(v, out);
  }
};

template <typename T>
void backward_by_columns(void* stream, const Scratch& scratch, const Area& area, const LayerNormBackward& o) {
  auto* means = static_cast<float*>(scratch.data);
  const size_t taken = layernorm_backward_scratch(area) - 2 * static_cast<size_t>(area.cols) * sizeof(float);
  launch(mean_gradients<T>, {blocks_of_rows(area)}, kThreads, 0, stream, area, o, means);
  sum_columns(stream, {static_cast<char*>(scratch.data) + taken, scratch.bytes - taken}, area, BackwardByColumns<T>{o, means},
              o.dgamma, o.dbeta);
}

}  // namespace

void layernorm_forward(void* stream, Type type, Area area, Matrix x, const float* gamma, const float* beta, float epsilon,
                       Matrix y, float* mean, float* rstd) {
  with_type(type, [&](auto tag) {
    launch(normalise<typename decltype(tag)::type>, {blocks_of_rows(area)}, kThreads, 0, stream, area, x, gamma, beta,
           epsilon, y, mean, rstd);
  });
}

size_t layernorm_backward_scratch(Area area) {
  return 2 * static_cast<size_t>(area.rows + area.cols) * sizeof(float);
}

void layernorm_backward(void* stream, Scratch scratch, Type type, Area area, const LayerNormBackward& o) {
  with_type(type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (backward_in_teams<1, 2, T>(stream, scratch, area, o) || backward_in_teams<1, 3, T>(stream, scratch, area, o) ||
        backward_in_teams<2, 2, T>(stream, scratch, area, o) || backward_in_teams<2, 3, T>(stream, scratch, area, o) ||
        backward_in_teams<4, 2, T>(stream, scratch, area, o) || backward_in_teams<4, 3, T>(stream, scratch, area, o) ||
        backward_in_teams<8, 2, T>(stream, scratch, area, o) || backward_in_teams<8, 3, T>(stream, scratch, area, o))
      return;
    backward_by_columns<T>(stream, scratch, area, o);
  });
}

}  // namespace triax::TRIAX_GPU
