#include "triax/checkpoint/safetensors.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/checkpoint/elements.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

using simdjson::dom::element;
using simdjson::dom::object;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
static_assert(std::endian::native == std::endian::little, "the format is little-endian");

// Types the format has and triax does not; told apart from names that mean nothing.
constexpr std::array<std::string_view, 9> kForeignTypes = {
    "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "F6_E2M3", "F6_E3M2", "C64"};

constexpr std::array<DType, 13> kDTypes = {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64,
                                           DType::i32, DType::i16, DType::i8,  DType::u64,  DType::u32,
                                           DType::u16, DType::u8,  DType::boolean};

DType dtype_from(std::string_view name, const std::string& where) {
  for (const DType dtype : kDTypes)
    if (name == safetensors_name(dtype)) return dtype;
  check(std::find(kForeignTypes.begin(), kForeignTypes.end(), name) == kForeignTypes.end(),
        "{}: elements of {} are not supported by triax; convert the tensor to F32, BF16 or F16", where, name);
  fail("{}: {} is not an element type of safetensors", where, quoted_name(name));
}

// Fields of a JSON object, each of which may appear once.
element unique_field(object fields, std::string_view key, const std::string& where) {
  element found;
  int count = 0;
  for (const auto field : fields)
    if (field.key == key) {
      found = field.value;
      ++count;
    }
  check(count > 0, "{}: its description has no \"{}\"", where, key);
  check(count == 1, "{}: its description has \"{}\" {} times", where, key, count);
  return found;
}

std::vector<uint64_t> unsigned_list(element value, std::string_view key, const std::string& where) {
  simdjson::dom::array array;
  check(value.get(array) == simdjson::SUCCESS, "{}: \"{}\" is not a list", where, key);
  std::vector<uint64_t> numbers;
  for (const element item : array) {
    uint64_t number = 0;
    check(item.get(number) == simdjson::SUCCESS, "{}: \"{}\" holds {}, which is not a count", where, key,
          quoted_name(simdjson::minify(item)));
    numbers.push_back(number);
  }
  return numbers;
}

Shape shape_from(const std::vector<uint64_t>& extents, const std::string& where) {
  check(extents.size() <= size_t{Shape::kMaxRank}, "{}: it has {} axes, more than the {} triax supports",
        where, extents.size(), Shape::kMaxRank);
  // Empty axes count as one here, so that strides cannot overflow either.
  int64_t size = 8;
  std::array<int64_t, Shape::kMaxRank> signed_extents{};
  for (size_t axis = 0; axis < extents.size(); ++axis) {
    signed_extents[axis] = static_cast<int64_t>(extents[axis]);
    const bool too_large =
        extents[axis] > uint64_t{INT64_MAX} ||
        __builtin_mul_overflow(size, std::max<int64_t>(1, signed_extents[axis]), &size);
    check(!too_large, "{}: the product of its shape overflows 64 bits", where);
  }
  return Shape(std::span<const int64_t>(signed_extents.data(), extents.size()));
}

SafetensorsEntry entry_from(std::string_view name, element description, const fs::path& path) {
  const std::string where = fmt::format("{}: tensor {}", path.string(), quoted_name(name));
  object fields;
  check(description.get(fields) == simdjson::SUCCESS, "{}: its description is not a JSON object", where);
  std::string_view dtype_name;
  check(unique_field(fields, "dtype", where).get(dtype_name) == simdjson::SUCCESS,
        "{}: \"dtype\" is not a text", where);
  SafetensorsEntry entry;
  entry.name = name;
  entry.dtype = dtype_from(dtype_name, where);
  entry.shape = shape_from(unsigned_list(unique_field(fields, "shape", where), "shape", where), where);
  const auto offsets = unsigned_list(unique_field(fields, "data_offsets", where), "data_offsets", where);
  check(offsets.size() == 2, "{}: \"data_offsets\" has {} numbers, not two", where, offsets.size());
  entry.begin = offsets[0];
  entry.end = offsets[1];
  check(entry.begin <= entry.end, "{}: \"data_offsets\" [{}, {}] run backwards", where, entry.begin, entry.end);
  const uint64_t needed = static_cast<uint64_t>(entry.shape.numel()) * size_of(entry.dtype);
  check(entry.end - entry.begin == needed, "{}: \"data_offsets\" [{}, {}] span {} bytes, but {} {} takes {}",
        where, entry.begin, entry.end, entry.end - entry.begin, safetensors_name(entry.dtype),
        entry.shape.to_string(), needed);
  return entry;
}

SafetensorsMetadata metadata_from(element value, const fs::path& path) {
  object fields;
  check(value.get(fields) == simdjson::SUCCESS, "{}: \"__metadata__\" is not a JSON object", path.string());
  SafetensorsMetadata metadata;
  for (const auto field : fields) {
    std::string_view text;
    check(field.value.get(text) == simdjson::SUCCESS, "{}: \"__metadata__\" entry {} is not a text",
          path.string(), quoted_name(field.key));
    check(metadata.emplace(field.key, text).second, "{}: \"__metadata__\" has {} twice", path.string(),
          quoted_name(field.key));
  }
  return metadata;
}

// Sorted tensors must cover [0, data_bytes) without holes and without overlap.
void check_contiguous(const std::vector<SafetensorsEntry>& sorted, uint64_t data_bytes, const fs::path& path) {
  uint64_t expected = 0;
  for (const SafetensorsEntry& entry : sorted) {
    check(entry.begin == expected, "{}: tensor {} begins at byte {} of the data, but the one before ends at {}",
          path.string(), quoted_name(entry.name), entry.begin, expected);
    check(entry.end <= data_bytes,
          "{}: tensor {} ends at byte {} of the data, but the file has only {}: it was truncated",
          path.string(), quoted_name(entry.name), entry.end, data_bytes);
    expected = entry.end;
  }
  check(expected == data_bytes, "{}: its tensors end at byte {} of the data, but the file has {}",
        path.string(), expected, data_bytes);
}

// The JSON of the header, after the checks on its length.
std::string_view header_json(const MappedFile& file) {
  const std::string path = file.path().string();
  check(file.size() >= 8, "{}: {} bytes are too few for a safetensors file", path, file.size());
  uint64_t length = 0;
  std::memcpy(&length, file.bytes().data(), 8);
  check(length <= kMaxHeaderBytes,
        "{}: a header of {} bytes is over the limit of {}; this is not a safetensors file", path, length,
        kMaxHeaderBytes);
  check(length <= file.size() - 8, "{}: the header takes {} bytes, but the file has only {}: it was truncated",
        path, length, file.size() - 8);
  const std::string_view json = file.text().substr(8, length);
  check(json.starts_with('{'), "{}: the header does not begin with '{{'; this is not a safetensors file", path);
  return json;
}

}  // namespace

std::string quoted_name(std::string_view name) {
  constexpr size_t kLongest = 120;
  std::string text = "\"";
  for (const char c : name.substr(0, kLongest)) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      text += c;
    }
  }
  return text + (name.size() > kLongest ? "...\"" : "\"");
}

SafetensorsFile::SafetensorsFile(const fs::path& path) : file_(path) {
  const std::string_view json = header_json(file_);
  const size_t invalid = find_invalid_utf8(json);
  check(invalid == std::string_view::npos, "{}: the header is not valid UTF-8 at byte {}", path.string(),
        8 + invalid);
  simdjson::dom::parser parser;
  element root;
  const simdjson::error_code error = parser.parse(json.data(), json.size()).get(root);
  check(error == simdjson::SUCCESS, "{}: the header is not valid JSON: {}", path.string(),
        simdjson::error_message(error));
  object fields;
  check(root.get(fields) == simdjson::SUCCESS, "{}: the header is not a JSON object", path.string());

  data_begin_ = 8 + json.size();
  bool metadata_seen = false;
  for (const auto field : fields) {
    if (field.key == "__metadata__") {
      check(!std::exchange(metadata_seen, true), "{}: \"__metadata__\" appears twice", path.string());
      metadata_ = metadata_from(field.value, path);
    } else {
      tensors_.push_back(entry_from(field.key, field.value, path));
    }
  }
  std::sort(tensors_.begin(), tensors_.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  by_name_.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i)
    check(by_name_.emplace(tensors_[i].name, i).second, "{}: tensor {} appears twice", path.string(),
          quoted_name(tensors_[i].name));
  check_contiguous(tensors_, file_.size() - data_begin_, path);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

const SafetensorsEntry& SafetensorsFile::get(std::string_view name) const {
  if (const SafetensorsEntry* entry = find(name)) return *entry;
  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : tensors_) names.push_back(entry.name);
  const std::string nearest = nearest_name(name, names);
  fail("{}: there is no tensor {}{}", path().string(), quoted_name(name),
       nearest.empty() ? "" : "; the nearest name is " + quoted_name(nearest));
}

std::span<const std::byte> SafetensorsFile::bytes(const SafetensorsEntry& entry) const {
  return file_.bytes().subspan(data_begin_ + entry.begin, entry.end - entry.begin);
}

void SafetensorsFile::read(const SafetensorsEntry& entry, const Tensor& to) const {
  const std::string where = fmt::format("{}: tensor {}", path().string(), quoted_name(entry.name));
  check(to.shape() == entry.shape, "{}: it has shape {}, and {} is wanted", where, entry.shape.to_string(),
        to.shape().to_string());
  check(to.device().kind == Device::Kind::cpu && to.is_contiguous(),
        "{}: it can only be read into contiguous CPU memory", where);
  check(can_convert(entry.dtype, to.dtype()), "{}: elements of {} cannot be read as {}", where,
        name_of(entry.dtype), name_of(to.dtype()));
  copy_elements(bytes(entry).data(), entry.dtype, to.raw(), to.dtype(), entry.shape.numel());
}

}  // namespace triax
