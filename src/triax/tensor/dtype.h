// Element types, and the two 16-bit floats as C++ types.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace triax {

enum class DType : uint8_t { f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, boolean };

size_t size_of(DType dtype);
// "f32", "bf16", ...
std::string_view name_of(DType dtype);
// The safetensors name: "F32", "BF16", ...
std::string_view safetensors_name(DType dtype);
// From either spelling; throws Error naming the valid ones.
DType parse_dtype(std::string_view name);

// bfloat16: the upper half of a float, rounded to nearest even.
struct bf16 {
  uint16_t bits = 0;
  bf16() = default;
  explicit bf16(float value) {
    const auto u = std::bit_cast<uint32_t>(value);
    bits = (u & 0x7FFFFFFFu) > 0x7F800000u ? static_cast<uint16_t>((u >> 16) | 0x40)
                                           : static_cast<uint16_t>((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
  }
  explicit operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }
};

// IEEE half precision.
struct f16 {
  _Float16 value = 0;
  f16() = default;
  explicit f16(float x) : value(static_cast<_Float16>(x)) {}
  explicit operator float() const { return static_cast<float>(value); }
};

template <typename T>
struct dtype_traits;
template <> struct dtype_traits<double> { static constexpr DType value = DType::f64; };
template <> struct dtype_traits<float> { static constexpr DType value = DType::f32; };
template <> struct dtype_traits<f16> { static constexpr DType value = DType::f16; };
template <> struct dtype_traits<bf16> { static constexpr DType value = DType::bf16; };
template <> struct dtype_traits<int64_t> { static constexpr DType value = DType::i64; };
template <> struct dtype_traits<int32_t> { static constexpr DType value = DType::i32; };
template <> struct dtype_traits<int16_t> { static constexpr DType value = DType::i16; };
template <> struct dtype_traits<int8_t> { static constexpr DType value = DType::i8; };
template <> struct dtype_traits<uint64_t> { static constexpr DType value = DType::u64; };
template <> struct dtype_traits<uint32_t> { static constexpr DType value = DType::u32; };
template <> struct dtype_traits<uint16_t> { static constexpr DType value = DType::u16; };
template <> struct dtype_traits<uint8_t> { static constexpr DType value = DType::u8; };
template <> struct dtype_traits<bool> { static constexpr DType value = DType::boolean; };
template <typename T>
inline constexpr DType dtype_of = dtype_traits<T>::value;

}  // namespace triax
