// Counter-based random numbers (Philox4x32-10; Salmon et al. 2011, "Parallel random numbers: as easy
// as 1, 2, 3"). A number is a pure function of a key and a counter, so that dropout and weight
// initialisation depend on (seed, step, layer, global position) and never on which rank or thread
// draws them.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace triax {

using PhiloxBlock = std::array<uint32_t, 4>;

constexpr PhiloxBlock philox4x32(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  constexpr uint32_t kMul0 = 0xD2511F53u, kMul1 = 0xCD9E8D57u;
  constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{kMul0} * counter[0];
    const uint64_t b = uint64_t{kMul1} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return counter;
}

// One dropout site in one step: which random stream it draws, and with what probability.
//
// The mask is that of a matrix of rows x columns whose rows carry *global* numbers (row_offset is the
// global number of this tensor's first row, col_offset that of its first column; both zero on one
// rank). A row is drawn in blocks of 128 columns, 16 Philox counters a block, eight 16-bit numbers a
// counter, laid out so that 16 neighbouring columns come from 16 neighbouring counters (one SIMD
// register each):
//
//   block   = row * ceil(total_cols / 128) + col / 128
//   counter = {lo32(16 * block + col % 16), hi32(16 * block + col % 16), site, step},  key = seed
//   u16     = 16-bit half  (col % 128 / 16) % 2  of word  (col % 128 / 16) / 2
//   keep      iff  u16 >= threshold(),   kept values are multiplied by scale()
struct Dropout {
  float probability = 0.0f;  // of being zeroed; 0 switches dropout off
  uint64_t seed = 0;
  uint32_t site = 0;  // unique per place in the model: layer * 8 + place
  uint32_t step = 0;
  int64_t row_offset = 0;
  int64_t col_offset = 0;
  int64_t total_cols = 0;  // of the whole matrix over all ranks; 0 means "the tensor's own"

  bool active() const { return probability > 0.0f; }
  // The probability rounded to the 16 bits that are drawn; scale() is exact for the rounded one.
  uint32_t threshold() const {
    return static_cast<uint32_t>(std::lround(static_cast<double>(probability) * 65536.0));
  }
  float scale() const { return static_cast<float>(65536.0 / (65536.0 - threshold())); }
};

// The definition above for one element, with global row and column: the reference for every kernel.
inline bool dropout_keep(const Dropout& d, int64_t row, int64_t col, int64_t total_cols) {
  const uint64_t block = static_cast<uint64_t>(row) * static_cast<uint64_t>((total_cols + 127) / 128) +
                         static_cast<uint64_t>(col / 128);
  const uint64_t counter = 16 * block + static_cast<uint64_t>(col % 16);
  const PhiloxBlock random = philox4x32({static_cast<uint32_t>(counter),
                                         static_cast<uint32_t>(counter >> 32), d.site, d.step},
                                        static_cast<uint32_t>(d.seed),
                                        static_cast<uint32_t>(d.seed >> 32));
  const auto lane = static_cast<uint32_t>(col % 128 / 16);
  return ((random[lane / 2] >> (16 * (lane % 2))) & 0xFFFFu) >= d.threshold();
}

// Stochastic rounding to bf16 (Gupta et al. 2015): up with the probability of what would be cut off. Element `index` of a
// parameter, which has a `stream` of its own, takes 16 bits of
//
//   counter = {lo32(index / 8), hi32(index / 8), stream, step},  key = seed, its upper half xor kRoundingKey
//   u16     = 16-bit half  index % 2  of word  index % 8 / 2
//
// and its f32 bits plus u16 lose their lower half.
constexpr uint32_t kRoundingKey = 0x726F756Eu;
constexpr PhiloxBlock rounding_numbers(uint64_t seed, uint32_t stream, uint32_t step, uint64_t eighth) {
  return philox4x32({static_cast<uint32_t>(eighth), static_cast<uint32_t>(eighth >> 32), stream, step},
                    static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32) ^ kRoundingKey);
}
constexpr uint32_t rounding_number(const PhiloxBlock& numbers, int within) {
  return numbers[static_cast<size_t>(within / 2)] >> (16 * (within % 2)) & 0xFFFFu;
}
// The upper half of a finite f32's bits, rounded; of what is not finite, cut off.
constexpr uint32_t round_up_by(uint32_t bits, uint32_t number) {
  const bool finite = (bits & 0x7F800000u) != 0x7F800000u;
  return (bits + (finite ? number : 0)) >> 16;
}

// Standard normal number `index` of stream (seed, stream): Box-Muller on one Philox block per pair.
inline float philox_normal(uint64_t seed, uint64_t stream, uint64_t index) {
  const uint64_t pair = index / 2;
  const PhiloxBlock r = philox4x32({static_cast<uint32_t>(pair), static_cast<uint32_t>(pair >> 32),
                                    static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                                   static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  const double u1 = (static_cast<double>((uint64_t{r[0]} << 21) ^ r[1]) + 0.5) * 0x1p-53;
  const double u2 = (static_cast<double>((uint64_t{r[2]} << 21) ^ r[3]) + 0.5) * 0x1p-53;
  const double radius = std::sqrt(-2.0 * std::log(u1));
  const double angle = 6.283185307179586476925 * u2;
  return static_cast<float>(radius * (index % 2 ? std::sin(angle) : std::cos(angle)));
}

// A small sequential generator on the same function, for sampling and tests.
class Philox {
 public:
  explicit Philox(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}
  uint32_t next_u32() {
    if (used_ == 4) refill();
    return block_[static_cast<size_t>(used_++)];
  }
  uint64_t next_u64() {
    const uint64_t high = next_u32();
    return high << 32 | next_u32();
  }
  // Uniform in [0, 1) with 53 bits.
  double next_double() { return static_cast<double>(next_u64() >> 11) * 0x1p-53; }
  // Uniform in [0, n) without modulo bias; n > 0.
  uint64_t next_below(uint64_t n) {
    const uint64_t limit = UINT64_MAX - (UINT64_MAX % n + 1) % n;
    uint64_t value = next_u64();
    while (value > limit) value = next_u64();
    return value % n;
  }
  double next_normal() {
    const double u1 = 1.0 - next_double(), u2 = next_double();
    return std::sqrt(-2.0 * std::log(u1)) * std::cos(6.283185307179586476925 * u2);
  }

 private:
  void refill() {
    block_ = philox4x32({static_cast<uint32_t>(counter_), static_cast<uint32_t>(counter_ >> 32),
                         static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)},
                        static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32));
    ++counter_;
    used_ = 0;
  }
  uint64_t seed_, stream_, counter_ = 0;
  PhiloxBlock block_{};
  int used_ = 4;
};

// Any order of the values is as likely as any other.
template <class T>
void shuffle(std::vector<T>& values, Philox& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.next_below(i)]);
}

}  // namespace triax
