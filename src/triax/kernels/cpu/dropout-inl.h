// The dropout masks of base/rng.h, one SIMD register of random words at a time. Highway style: this
// file is compiled once per instruction set, by sources that include hwy/foreach_target.h.
#if defined(TRIAX_KERNELS_CPU_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIAX_KERNELS_CPU_DROPOUT_INL_H_
#undef TRIAX_KERNELS_CPU_DROPOUT_INL_H_
#else
#define TRIAX_KERNELS_CPU_DROPOUT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "triax/kernels/cpu/dropout.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
// Philox4x32-10 on one counter per 64-bit lane. The words are the low halves of the lanes; what is
// left in the high halves is of no use and does no harm, so that a round needs no shuffle: the
// multiplication reads low halves only.
template <class D64, class V = hn::Vec<D64>>
HWY_INLINE void philox_lanes(D64 d, uint32_t key0, uint32_t key1, V& c0, V& c1, V& c2, V& c3) {
  const hn::Repartition<uint32_t, D64> d32;
  const auto mul0 = hn::Set(d32, 0xD2511F53u), mul1 = hn::Set(d32, 0xCD9E8D57u);
  for (int round = 0; round < 10; ++round) {
    const V a = hn::MulEven(hn::BitCast(d32, c0), mul0);
    const V b = hn::MulEven(hn::BitCast(d32, c2), mul1);
    const V k0 = hn::Set(d, uint64_t{key0}), k1 = hn::Set(d, uint64_t{key1});
    c0 = hn::Xor3(hn::ShiftRight<32>(b), c1, k0);
    c2 = hn::Xor3(hn::ShiftRight<32>(a), c3, k1);
    c1 = b;
    c3 = a;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}
#endif

// The four random words of one register of consecutive lanes with counters first + i * stride.
template <class D32>
struct RandomWords {
  hn::Vec<D32> word[4];

  HWY_INLINE RandomWords(D32 d32, const DropoutMask& mask, uint64_t first, uint64_t stride) {
#if HWY_TARGET == HWY_SCALAR
    (void)stride;
    const PhiloxBlock random =
        philox4x32({static_cast<uint32_t>(first), static_cast<uint32_t>(first >> 32), mask.site,
                    mask.step},
                   mask.key0, mask.key1);
    for (size_t w = 0; w < 4; ++w) word[w] = hn::Set(d32, random[w]);
#else
    const hn::Repartition<uint64_t, D32> d64;
    using V = hn::Vec<decltype(d64)>;
    constexpr size_t kHalf = hn::MaxLanes(d64);
    alignas(64) uint64_t steps[kHalf];
    for (size_t i = 0; i < kHalf; ++i) steps[i] = i * stride;
    const V low = hn::Add(hn::Set(d64, first), hn::Load(d64, steps));
    const V high = hn::Add(low, hn::Set(d64, kHalf * stride));
    V a0 = low, a1 = hn::ShiftRight<32>(low), b0 = high, b1 = hn::ShiftRight<32>(high);
    V a2 = hn::Set(d64, uint64_t{mask.site}), a3 = hn::Set(d64, uint64_t{mask.step});
    V b2 = a2, b3 = a3;
    philox_lanes(d64, mask.key0, mask.key1, a0, a1, a2, a3);
    philox_lanes(d64, mask.key0, mask.key1, b0, b1, b2, b3);
    const auto join = [d32](V upper, V lower) HWY_ATTR {
      return hn::ConcatEven(d32, hn::BitCast(d32, upper), hn::BitCast(d32, lower));
    };
    word[0] = join(b0, a0);
    word[1] = join(b1, a1);
    word[2] = join(b2, a2);
    word[3] = join(b3, a3);
#endif
  }
};

// scale where the 16-bit number is kept, else 0.
template <class D32>
HWY_INLINE hn::Vec<hn::Rebind<float, D32>> keep_factor(D32, const DropoutMask& mask,
                                                       hn::Vec<D32> number) {
  const hn::Rebind<float, D32> df;
  const hn::Rebind<int32_t, D32> di;
  const auto keep = hn::Gt(hn::BitCast(di, number), hn::Set(di, mask.threshold - 1));
  return hn::IfThenElseZero(hn::RebindMask(df, keep), hn::Set(df, mask.scale));
}

// Stores the factors of the eight 16-bit numbers of `random` to out, out + step, ..., out + 7 * step.
template <class D32>
HWY_INLINE void store_factors(D32 d32, const DropoutMask& mask, const RandomWords<D32>& random,
                              float* HWY_RESTRICT out, int64_t step) {
  const hn::Rebind<float, D32> df;
  const auto low = hn::Set(d32, 0xFFFFu);
  for (int w = 0; w < 4; ++w) {
    hn::StoreU(keep_factor(d32, mask, hn::And(random.word[w], low)), df, out + 2 * w * step);
    hn::StoreU(keep_factor(d32, mask, hn::ShiftRight<16>(random.word[w])), df,
               out + (2 * w + 1) * step);
  }
}

// out[0, 128): the factors of one row's block of 128 columns.
HWY_INLINE void dropout_block(const DropoutMask& mask, int64_t row, int64_t block,
                              float* HWY_RESTRICT out) {
  using D32 = hn::CappedTag<uint32_t, 16>;
  const D32 d32;
  constexpr size_t kLanes = hn::MaxLanes(d32);
  const uint64_t first =
      16 * (static_cast<uint64_t>(row) * mask.blocks_per_row + static_cast<uint64_t>(block));
  for (size_t col = 0; col < 16; col += kLanes)
    store_factors(d32, mask, RandomWords<D32>(d32, mask, first + col, 1), out + col, 16);
}

// out[j] = scale where column col + j of `row` is kept, else 0. Best called with whole blocks of 128
// columns that start at a multiple of 128; every other call is right too.
HWY_INLINE void dropout_row(const DropoutMask& mask, int64_t row, int64_t col, int64_t count,
                                float* HWY_RESTRICT out) {
  while (count > 0) {
    const int64_t offset = col % 128, part = std::min(count, 128 - offset);
    if (part == 128) {
      dropout_block(mask, row, col / 128, out);
    } else {
      alignas(64) float whole[128];
      dropout_block(mask, row, col / 128, whole);
      std::memcpy(out, whole + offset, static_cast<size_t>(part) * sizeof(float));
    }
    out += part, col += part, count -= part;
  }
}

// The transpose, for kernels whose lanes are rows: out[c * ld + r] is the factor of column
// 128 * block + c and row first_row + r * row_step, for c < 128 and r < rows; rows is rounded up to
// whole registers.
HWY_INLINE void dropout_block_transposed(const DropoutMask& mask, int64_t first_row,
                                         int64_t row_step, int64_t rows, int64_t block,
                                         float* HWY_RESTRICT out, int64_t ld) {
  using D32 = hn::CappedTag<uint32_t, 16>;
  const D32 d32;
  constexpr auto kLanes = static_cast<int64_t>(hn::MaxLanes(d32));
  const uint64_t stride = 16 * mask.blocks_per_row * static_cast<uint64_t>(row_step);
  for (int64_t r = 0; r < rows; r += kLanes) {
    const uint64_t first = 16 * (static_cast<uint64_t>(first_row + r * row_step) * mask.blocks_per_row +
                                 static_cast<uint64_t>(block));
    for (uint64_t c = 0; c < 16; ++c)
      store_factors(d32, mask, RandomWords<D32>(d32, mask, first + c, stride),
                    out + static_cast<int64_t>(c) * ld + r, 16 * ld);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#endif  // TRIAX_KERNELS_CPU_DROPOUT_INL_H_
