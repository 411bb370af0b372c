#include <algorithm>
#include <string>
#include <utility>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/checkpoint/json_text.h"
#include "triax/checkpoint/safetensors.h"

namespace triax {
namespace {

// The order of the element types in the reference implementation, from the last to the first.
int order_of(DType dtype) {
  switch (dtype) {
    case DType::u64: return 0;
    case DType::i64: return 1;
    case DType::f64: return 2;
    case DType::f32: return 3;
    case DType::u32: return 4;
    case DType::i32: return 5;
    case DType::bf16: return 6;
    case DType::f16: return 7;
    case DType::u16: return 8;
    case DType::i16: return 9;
    case DType::i8: return 10;
    case DType::u8: return 11;
    case DType::boolean: return 12;
  }
  return 13;
}

std::vector<SafetensorsSpec> sorted(std::vector<SafetensorsSpec> tensors, const std::string& path) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    const int order_a = order_of(a.dtype), order_b = order_of(b.dtype);
    return order_a != order_b ? order_a < order_b : a.name < b.name;
  });
  std::vector<std::string_view> names;
  for (const SafetensorsSpec& tensor : tensors) {
    check(tensor.name != "__metadata__", "{}: a tensor cannot be named \"__metadata__\"", path);
    check(find_invalid_utf8(tensor.name) == std::string::npos, "{}: the tensor name {} is not UTF-8", path,
          quoted_name(tensor.name));
    names.push_back(tensor.name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) fail("{}: there are two tensors named {}", path, quoted_name(*twice));
  return tensors;
}

std::string header_of(const std::vector<SafetensorsSpec>& order, const SafetensorsMetadata& metadata) {
  std::string json = "{";
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata)
      json += fmt::format("{}{}:{}", json.back() == '{' ? "" : ",", json_string(key), json_string(value));
    json += "}";
  }
  uint64_t offset = 0;
  for (const SafetensorsSpec& tensor : order) {
    const uint64_t end = offset + static_cast<uint64_t>(tensor.shape.numel()) * size_of(tensor.dtype);
    json += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                        json.size() == 1 ? "" : ",", json_string(tensor.name),
                        safetensors_name(tensor.dtype), json_list(tensor.shape), offset, end);
    offset = end;
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const uint64_t length = json.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + json;
}

uint64_t bytes_of(const std::vector<SafetensorsSpec>& tensors) {
  uint64_t bytes = 0;
  for (const SafetensorsSpec& tensor : tensors)
    bytes += static_cast<uint64_t>(tensor.shape.numel()) * size_of(tensor.dtype);
  return bytes;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<SafetensorsSpec> tensors,
                                     const SafetensorsMetadata& metadata)
    : order_(sorted(std::move(tensors), path.string())),
      data_bytes_(bytes_of(order_)),
      header_(header_of(order_, metadata)),
      file_(path) {
  file_.write(header_.data(), header_.size());
}

void SafetensorsWriter::commit() {
  check(file_.bytes_written() == file_bytes(),
        "a safetensors file of {} bytes was given {}: its tensors were not all written", file_bytes(),
        file_.bytes_written());
  file_.commit();
}

}  // namespace triax
