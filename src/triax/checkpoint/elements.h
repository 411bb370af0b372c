// Copying numbers between memory of different element types.
#pragma once

#include <cstdint>

#include "triax/tensor/dtype.h"

namespace triax {

// Whether copy_elements() can go from one type to the other: equal types always, and any two of
// f64, f32, f16, bf16 (rounded to nearest even).
bool can_convert(DType from, DType to);

// Copies n elements. Neither pointer needs to be aligned; the ranges must not overlap. Throws Error for
// types that do not convert.
void copy_elements(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n);

// Sum of the squares of n elements of a floating-point type, in double; throws Error for others.
double sum_of_squares(const void* from, DType dtype, int64_t n);

}  // namespace triax
