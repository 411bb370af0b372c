// Matrices as FP8 and a factor: the largest element is found first, then everything is rounded, in rows as they are or
// transposed through shared memory.
#include "triax/kernels/cuda/device_code.h"

namespace triax::TRIAX_GPU {
namespace {

constexpr int64_t kMostParts = 512;   // blocks that look for the largest element
constexpr int64_t kMostBlocks = 4096;
constexpr int kTile = 64;             // rows and columns that a block transposes
constexpr int kTileStride = kTile + 4;  // bytes of a column's codes, so that neighbouring ones lie in different banks

struct alignas(8) EightCodes {
  uint32_t word[2];
};

template <int kMantissa, int kBias, uint32_t kLargest>
struct Form {
  static constexpr int kMantissaBits = kMantissa;
  static constexpr int exponent_bias() { return kBias; }
  static constexpr uint32_t largest_code() { return kLargest; }
  // The exponent of the largest number, whose mantissa is 1.75 in both formats.
  static constexpr int kLargestExponent = static_cast<int>(kLargest >> kMantissa) - kBias;
};
using E4m3 = Form<3, 7, 0x7E>;
using E5m2 = Form<2, 15, 0x7B>;

__device__ inline bool is_finite(float x) { return (__float_as_uint(x) & 0x7FFFFFFFu) < 0x7F800000u; }

// To nearest even, at most the largest number; NaN stays NaN.
template <typename F>
__device__ inline uint32_t float8_code(float x) {
  const uint32_t bits = __float_as_uint(x), magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return 0x7F;
  uint32_t code;
  if (magnitude >> 23 < 128u - F::exponent_bias()) {
    // Below the normal numbers: added to a float whose last bit is worth the format's smallest number.
    constexpr uint32_t kUnit = (127u + 24 - F::exponent_bias() - F::kMantissaBits) << 23;
    code = __float_as_uint(bits_to_float(magnitude) + bits_to_float(kUnit)) - kUnit;
  } else {
    constexpr int kDropped = 23 - F::kMantissaBits;
    const uint32_t rounded = magnitude + (1u << (kDropped - 1)) - 1 + (magnitude >> kDropped & 1);
    code = (rounded >> kDropped) - ((127u - F::exponent_bias()) << F::kMantissaBits);
  }
  return (bits >> 24 & 0x80u) | (code < F::largest_code() ? code : F::largest_code());
}

// Two codes, that of `low` in the lower byte.
template <typename F>
__device__ inline uint32_t two_codes(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  uint16_t codes;
  if constexpr (F::kMantissaBits == 3) {
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
  }
  return codes;
#else
  return float8_code<F>(low) | float8_code<F>(high) << 8;
#endif
}

// What is not finite becomes NaN, whatever the format has for infinity.
template <typename F>
__device__ inline void codes_of(float (&x)[kPack], float scale, EightCodes& codes) {
#pragma unroll
  for (int i = 0; i < kPack; ++i) x[i] = is_finite(x[i]) ? x[i] * scale : bits_to_float(0x7FC00000u);
#pragma unroll
  for (int w = 0; w < 2; ++w) codes.word[w] = two_codes<F>(x[4 * w], x[4 * w + 1]) | two_codes<F>(x[4 * w + 2], x[4 * w + 3]) << 16;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) largest_elements(Area area, Matrix x, float* parts) {
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  float largest = 0;
  for (int64_t row = int64_t{blockIdx.x} * kRowsOfBlock + warp; row < area.rows; row += int64_t{gridDim.x} * kRowsOfBlock)
    for_columns<kWarp>(area.cols, area.vector, lane, [&](auto count, int64_t col) {
      float v[decltype(count)::value];
      load<decltype(count)::value>(row_of<const T>(x, row) + col, v);
      for (const float value : v)
        if (is_finite(value)) largest = fmaxf(largest, fabsf(value));
    });
  largest = reduce_block<Largest>(largest);
  if (threadIdx.x == 0) parts[blockIdx.x] = largest;
}

// The exponent of the scale: see kernels/float8.h. Every thread of the block gets it, and one says the factor.
template <typename F>
__device__ inline int scale_exponent(const float* parts, int64_t count, float* factor) {
  float largest = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) largest = fmaxf(largest, parts[i]);
  largest = reduce_block<Largest>(largest);
  const uint32_t bits = __float_as_uint(largest);
  int exponent = F::kLargestExponent + 127 - static_cast<int>(bits >> 23) - ((bits & 0x7FFFFFu) > 0x600000u);
  exponent = bits == 0 ? 0 : exponent > 126 ? 126 : exponent;
  if (threadIdx.x == 0 && blockIdx.x == 0 && blockIdx.y == 0) *factor = bits_to_float(static_cast<uint32_t>(127 - exponent) << 23);
  return exponent;
}

struct Parts {
  const float* largest;
  int64_t count;
};

template <typename T, typename F>
__global__ void __launch_bounds__(kThreads) quantize_rows(Area area, Matrix x, Parts parts, uint8_t* codes, int64_t stride, float* factor) {
  const float scale = bits_to_float(static_cast<uint32_t>(127 + scale_exponent<F>(parts.largest, parts.count, factor)) << 23);
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  for (int64_t row = int64_t{blockIdx.x} * kRowsOfBlock + warp; row < area.rows; row += int64_t{gridDim.x} * kRowsOfBlock)
    for (int64_t col = lane * kPack; col < stride; col += kWarp * kPack) {
      float v[kPack];
      load_pack(row_of<const T>(x, row), col, area.cols, area.vector, v);
      codes_of<F>(v, scale, *reinterpret_cast<EightCodes*>(codes + row * stride + col));
    }
}

// codes [cols, stride]: a block has kTile rows and columns of x.
template <typename T, typename F>
__global__ void __launch_bounds__(kThreads) quantize_columns(Area area, Matrix x, Parts parts, uint8_t* codes, int64_t stride, float* factor) {
  const float scale = bits_to_float(static_cast<uint32_t>(127 + scale_exponent<F>(parts.largest, parts.count, factor)) << 23);
  __shared__ uint32_t tile[kTile * kTileStride / 4];
  auto* bytes = reinterpret_cast<uint8_t*>(tile);
  constexpr int kPacks = kTile / kPack, kAtATime = kThreads / kPacks;
  const int pack = static_cast<int>(threadIdx.x) % kPacks, first = static_cast<int>(threadIdx.x) / kPacks;
  const int64_t row0 = int64_t{blockIdx.x} * kTile, col0 = int64_t{blockIdx.y} * kTile;
  for (int r = first; r < kTile; r += kAtATime) {
    float v[kPack] = {};
    if (row0 + r < area.rows) load_pack(row_of<const T>(x, row0 + r), col0 + pack * kPack, area.cols, area.vector, v);
    EightCodes eight;
    codes_of<F>(v, scale, eight);
#pragma unroll
    for (int i = 0; i < kPack; ++i) bytes[(pack * kPack + i) * kTileStride + r] = static_cast<uint8_t>(eight.word[i / 4] >> (8 * (i % 4)));
  }
  __syncthreads();
  for (int c = first; c < kTile; c += kAtATime) {
    if (col0 + c >= area.cols || row0 + pack * kPack >= stride) continue;
    const uint32_t* from = tile + c * kTileStride / 4 + pack * 2;
    *reinterpret_cast<EightCodes*>(codes + (col0 + c) * stride + row0 + pack * kPack) = {from[0], from[1]};
  }
}

int64_t at_most(int64_t count, int64_t most) { return count < most ? count : most; }

}  // namespace

size_t quantize_scratch() { return kMostParts * sizeof(float); }

void quantize(void* stream, Scratch scratch, Type type, Area area, Matrix x, const Codes& to) {
  auto* parts = static_cast<float*>(scratch.data);
  const int64_t blocks = blocks_of_rows(area), count = at_most(blocks, kMostParts);
  with_type(type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(largest_elements<T>, {static_cast<uint32_t>(count)}, kThreads, 0, stream, area, x, parts);
    const auto round = [&](auto form) {
      using F = decltype(form);
      if (to.transposed) {
        launch(quantize_columns<T, F>, {ceil_div(to.stride, kTile), ceil_div(area.cols, kTile)}, kThreads, 0, stream, area, x,
               Parts{parts, count}, to.data, to.stride, to.factor);
      } else {
        launch(quantize_rows<T, F>, {static_cast<uint32_t>(at_most(blocks, kMostBlocks))}, kThreads, 0, stream, area, x,
               Parts{parts, count}, to.data, to.stride, to.factor);
      }
    };
    if (to.e5m2) return round(E5m2{});
    round(E4m3{});
  });
}

}  // namespace triax::TRIAX_GPU
