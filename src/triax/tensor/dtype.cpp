#include "triax/tensor/dtype.h"

#include <array>

#include "triax/base/error.h"

namespace triax {
namespace {

struct DTypeInfo {
  DType dtype;
  size_t size;
  std::string_view name, safetensors;
};

constexpr std::array<DTypeInfo, 13> kInfo = {{{DType::f64, 8, "f64", "F64"},
                                              {DType::f32, 4, "f32", "F32"},
                                              {DType::f16, 2, "f16", "F16"},
                                              {DType::bf16, 2, "bf16", "BF16"},
                                              {DType::i64, 8, "i64", "I64"},
                                              {DType::i32, 4, "i32", "I32"},
                                              {DType::i16, 2, "i16", "I16"},
                                              {DType::i8, 1, "i8", "I8"},
                                              {DType::u64, 8, "u64", "U64"},
                                              {DType::u32, 4, "u32", "U32"},
                                              {DType::u16, 2, "u16", "U16"},
                                              {DType::u8, 1, "u8", "U8"},
                                              {DType::boolean, 1, "bool", "BOOL"}}};

const DTypeInfo& info_of(DType dtype) { return kInfo[static_cast<size_t>(dtype)]; }

}  // namespace

size_t size_of(DType dtype) { return info_of(dtype).size; }
std::string_view name_of(DType dtype) { return info_of(dtype).name; }
std::string_view safetensors_name(DType dtype) { return info_of(dtype).safetensors; }

DType parse_dtype(std::string_view name) {
  for (const DTypeInfo& info : kInfo)
    if (name == info.name || name == info.safetensors) return info.dtype;
  fail("\"{}\" is not an element type; known are f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, "
       "u16, u8 and bool",
       name);
}

}  // namespace triax
