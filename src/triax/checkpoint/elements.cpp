#include "triax/checkpoint/elements.h"

#include <cstddef>
#include <cstring>
#include <type_traits>

#include "triax/base/error.h"

namespace triax {
namespace {

bool is_float(DType dtype) {
  return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

// Calls visit(T{}) for the C++ type of a floating-point dtype.
template <typename Visit>
void with_float_type(DType dtype, Visit&& visit) {
  switch (dtype) {
    case DType::f64: return visit(double{});
    case DType::f32: return visit(float{});
    case DType::f16: return visit(f16{});
    case DType::bf16: return visit(bf16{});
    default: fail("elements of {} are not floating-point numbers", name_of(dtype));
  }
}

template <typename From, typename To>
To convert(From value) {
  if constexpr (std::is_same_v<From, To>) {
    return value;
  } else if constexpr (std::is_same_v<From, double> && std::is_same_v<To, f16>) {
    To result;
    result.value = static_cast<_Float16>(value);  // not through float, which would round twice
    return result;
  } else {
    return To(static_cast<float>(value));
  }
}

// Files of others put tensors at any byte, so every element goes through memcpy (one plain load).
template <typename From, typename To>
void convert_range(const std::byte* from, std::byte* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    From value;
    std::memcpy(static_cast<void*>(&value), from + i * static_cast<int64_t>(sizeof(From)), sizeof(From));
    const To converted = convert<From, To>(value);
    std::memcpy(to + i * static_cast<int64_t>(sizeof(To)), &converted, sizeof(To));
  }
}

}  // namespace

bool can_convert(DType from, DType to) { return from == to || (is_float(from) && is_float(to)); }

void copy_elements(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n) {
  if (n <= 0) return;
  if (from_dtype == to_dtype) {
    std::memcpy(to, from, static_cast<size_t>(n) * size_of(from_dtype));
    return;
  }
  check(can_convert(from_dtype, to_dtype), "elements of {} cannot be read as {}", name_of(from_dtype),
        name_of(to_dtype));
  with_float_type(from_dtype, [&](auto source) {
    with_float_type(to_dtype, [&](auto target) {
      convert_range<decltype(source), decltype(target)>(static_cast<const std::byte*>(from),
                                                        static_cast<std::byte*>(to), n);
    });
  });
}

double sum_of_squares(const void* from, DType dtype, int64_t n) {
  double sum = 0;
  with_float_type(dtype, [&](auto type) {
    using T = decltype(type);
    for (int64_t i = 0; i < n; ++i) {
      T value;
      std::memcpy(static_cast<void*>(&value),
                  static_cast<const std::byte*>(from) + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
      const double x = convert<T, double>(value);
      sum += x * x;
    }
  });
  return sum;
}

}  // namespace triax
