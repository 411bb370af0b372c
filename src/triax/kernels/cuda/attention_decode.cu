// Attention of one new query of each sequence against its cache. Bound by memory, and sequences are few: the keys of a head
// are cut into pieces, a block each, whose partial results are then put together.
#include "triax/kernels/cuda/attention_rows.h"

namespace triax::TRIAX_GPU {
namespace {

constexpr int kPiece = 256;              // keys of a block
constexpr int kPart = 2 + kMaxHeadDim;   // floats of a partial result: largest score, sum of weights, weighted values [d]

// Column c of `count` partial results `stride` floats apart, put together.
struct Merged {
  float most = -INFINITY, sum = 0, out = 0;
  __device__ Merged(const float* parts, int64_t stride, int count, int c) {
    for (int i = 0; i < count; ++i) most = fmaxf(most, parts[i * stride]);
    for (int i = 0; i < count; ++i) {
      const float* part = parts + i * stride;
      const float weight = part[0] == -INFINITY ? 0.0f : exp2f(part[0] - most);
      sum = fmaf(weight, part[1], sum);
      out = fmaf(weight, part[2 + c], out);
    }
  }
};

// Where the partial result of a piece is.
__device__ inline float* part_of(const Decode& a, int64_t sequence, int head, int pieces, int piece) {
  return a.parts + ((sequence * a.heads + head) * pieces + piece) * (2 + a.d);
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads) decode(Decode a) {
  __shared__ float query[kMaxHeadDim], parts[kWarps][kPart];
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int head = static_cast<int>(blockIdx.x), piece = static_cast<int>(blockIdx.z), pieces = static_cast<int>(gridDim.z);
  const int64_t sequence = blockIdx.y, own = (sequence * a.heads + head) * a.d, stride = int64_t{a.heads} * a.d;
  const int length = a.lengths[sequence], begin = piece * kPiece;
  if (begin >= length) return;
  const int end = begin + kPiece < length ? begin + kPiece : length;
  const T* k = static_cast<const T*>(a.k) + (sequence * a.most * a.heads + head) * a.d;
  const T* v = static_cast<const T*>(a.v) + (sequence * a.most * a.heads + head) * a.d;
  for (int c = static_cast<int>(threadIdx.x); c < a.d; c += kBlockThreads)
    query[c] = to_float(static_cast<const T*>(a.q)[own + c]);
  __syncthreads();
  Running running;
  for (int first = begin + warp * kWarp; first < end; first += kBlockThreads) {
    const int key = first + lane;
    const float p = running.add(key < end ? dot_product(query, k + key * stride, a.d, a.vector) * (a.scale * kLog2E) : -INFINITY);
    add_weighted_rows(p, end - first < kWarp ? end - first : kWarp, v + first * stride, stride, a.d, running.out);
  }
  const float sum = reduce_warp<Sum>(running.sum);
  for (int i = 0; i < kLaneColumns; ++i) parts[warp][2 + lane + i * kWarp] = running.out[i];
  if (lane == 0) parts[warp][0] = running.most, parts[warp][1] = sum;
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < a.d; c += kBlockThreads) {
    const Merged all(parts[0], kPart, kWarps, c);
    if (pieces == 1) {
      static_cast<T*>(a.out)[own + c] = from_float<T>(all.out / all.sum);
      continue;
    }
    float* part = part_of(a, sequence, head, pieces, piece);
    part[2 + c] = all.out;
    if (c == 0) part[0] = all.most, part[1] = all.sum;
  }
}

// A block for a head of a sequence.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) merge_pieces(Decode a, int pieces) {
  const int head = static_cast<int>(blockIdx.x);
  const int64_t sequence = blockIdx.y;
  const int count = (a.lengths[sequence] + kPiece - 1) / kPiece;
  for (int c = static_cast<int>(threadIdx.x); c < a.d; c += kBlockThreads) {
    const Merged all(part_of(a, sequence, head, pieces, 0), 2 + a.d, count, c);
    static_cast<T*>(a.out)[(sequence * a.heads + head) * a.d + c] = from_float<T>(all.out / all.sum);
  }
}

}  // namespace

size_t attention_decode_scratch(const Decode& a, int64_t longest) {
  const size_t pieces = ceil_div(longest, kPiece);
  return pieces == 1 ? 0 : pieces * static_cast<size_t>(a.heads) * static_cast<size_t>(2 + a.d) * sizeof(float);
}

void attention_decode(void* stream, const Decode& a, int64_t count, int64_t longest) {
  const uint32_t pieces = ceil_div(longest, kPiece);
  const auto heads = static_cast<uint32_t>(a.heads), sequences = static_cast<uint32_t>(count);
  with_type(a.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(decode<T>, {heads, sequences, pieces}, kBlockThreads, 0, stream, a);
    if (pieces > 1) launch(merge_pieces<T>, {heads, sequences}, kBlockThreads, 0, stream, a, static_cast<int>(pieces));
  });
}

}  // namespace triax::TRIAX_GPU
