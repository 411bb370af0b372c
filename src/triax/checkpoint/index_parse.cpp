#include <simdjson.h>

#include <array>
#include <charconv>
#include <utility>

#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/checkpoint/index.h"
#include "triax/checkpoint/safetensors.h"

namespace triax {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr std::string_view kChecksumField = "\"index_checksum\":\"";

// Fields with the wrong type are named with the place they are at.
template <typename T>
T value_of(simdjson::simdjson_result<element> field, const std::string& where, std::string_view key) {
  T value{};
  check(field.get(value) == simdjson::SUCCESS, "{}: \"{}\" is missing or not of the right kind", where, key);
  return value;
}

template <typename T>
T value_of(element parent, const std::string& where, std::string_view key) {
  return value_of<T>(parent[key], where, key);
}

int64_t count_of(element value, const std::string& where, std::string_view key) {
  const auto count = value_of<int64_t>(value, where, key);
  check(count >= 0, "{}: \"{}\" is {}, and cannot be negative", where, key, count);
  return count;
}

uint64_t checksum_of(element value, const std::string& where) {
  std::string_view text;
  uint64_t checksum = 0;
  check(value.get(text) == simdjson::SUCCESS, "{}: a checksum is not a text", where);
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), checksum, 16);
  check(status == std::errc() && end == text.data() + text.size(), "{}: {} is not a checksum", where,
        quoted_name(text));
  return checksum;
}

Shape shape_of(element parent, const std::string& where, std::string_view key) {
  std::array<int64_t, Shape::kMaxRank> extents{};
  size_t rank = 0;
  int64_t size = 8;  // no element is larger; counting empty axes as one keeps strides from overflowing
  for (const element item : value_of<array>(parent, where, key)) {
    check(rank < extents.size(), "{}: \"{}\" has more than {} axes", where, key, extents.size());
    int64_t extent = 0;
    check(item.get(extent) == simdjson::SUCCESS && extent >= 0 &&
              !__builtin_mul_overflow(size, std::max<int64_t>(1, extent), &size),
          "{}: \"{}\" is not a shape", where, key);
    extents[rank++] = extent;
  }
  return Shape(std::span<const int64_t>(extents.data(), rank));
}

StoredFile file_from(element item, const std::string& where) {
  StoredFile file;
  file.name = value_of<std::string_view>(item, where, "name");
  check(!file.name.empty() && file.name.front() != '.' && file.name.find('/') == std::string::npos &&
            file.name.find('\0') == std::string::npos,
        "{}: {} is not the name of a file in the checkpoint", where, quoted_name(file.name));
  file.bytes = static_cast<uint64_t>(count_of(item, where, "bytes"));
  file.header_checksum = checksum_of(value_of<element>(item, where, "header_checksum"), where);
  return file;
}

StoredPiece piece_from(element item, const StoredTensor& tensor, const CheckpointIndex& index,
                       const std::string& where) {
  StoredPiece piece;
  piece.file = static_cast<size_t>(count_of(item, where, "file"));
  check(piece.file < index.files.size(), "{}: a piece lies in file number {} of {}", where, piece.file,
        index.files.size());
  piece.region.offset = shape_of(item, where, "offset");
  piece.region.shape = shape_of(item, where, "shape");
  const array range = value_of<array>(item, where, "range");
  check(range.size() == 2 && range.at(0).get(piece.region.begin) == simdjson::SUCCESS &&
            range.at(1).get(piece.region.end) == simdjson::SUCCESS,
        "{}: \"range\" is not two numbers", where);
  check(is_inside(piece.region, tensor.shape), "{}: the piece {} is not inside the shape {}", where,
        piece.region.to_string(), tensor.shape.to_string());
  for (const element checksum : value_of<array>(item, where, "checksums"))
    piece.checksums.push_back(checksum_of(checksum, where));
  const uint64_t bytes = static_cast<uint64_t>(piece.region.numel()) * size_of(tensor.dtype);
  const uint64_t blocks = bytes / index.checksum_block + (bytes % index.checksum_block != 0);
  check(piece.checksums.size() == blocks, "{}: the piece {} has {} checksums, and its {} bytes take {}", where,
        piece.region.to_string(), piece.checksums.size(), bytes, blocks);
  return piece;
}

// The index ends with a checksum of all that is before it.
void check_own_checksum(std::string_view json, const std::string& where) {
  const size_t at = json.rfind(kChecksumField);
  check(at != std::string_view::npos && json.size() == at + kChecksumField.size() + 16 + 3 &&
            json.ends_with("\"}\n"),
        "{}: it does not end with its checksum: it was truncated, or is not the index of a checkpoint", where);
  check(json.substr(at + kChecksumField.size(), 16) == hex64(hash64(json.substr(0, at))),
        "{}: its checksum does not match: it was altered", where);
}

}  // namespace

std::string compact_json_object(std::string_view text, std::string_view what) {
  simdjson::dom::parser parser;
  element root;
  const simdjson::error_code error = parser.parse(text.data(), text.size()).get(root);
  check(error == simdjson::SUCCESS, "{}: not valid JSON: {}", what, simdjson::error_message(error));
  check(root.is_object(), "{}: not a JSON object", what);
  return simdjson::minify(root);
}

CheckpointIndex parse_index(std::string_view json, const std::filesystem::path& path) {
  const std::string file = path.string();
  check_own_checksum(json, file);
  simdjson::dom::parser parser;
  element root;
  const simdjson::error_code error = parser.parse(json.data(), json.size()).get(root);
  check(error == simdjson::SUCCESS, "{}: not valid JSON: {}", file, simdjson::error_message(error));
  check(root.is_object() && value_of<std::string_view>(root, file, "format") == "triax-checkpoint",
        "{}: not the index of a triax checkpoint", file);
  const auto version = value_of<int64_t>(root, file, "version");
  check(version == 1, "{}: this checkpoint is of version {}, and this triax reads version 1; use a newer one",
        file, version);

  CheckpointIndex index;
  index.step = count_of(root, file, "step");
  index.state = simdjson::minify(value_of<object>(root, file, "state"));
  index.checksum_block = static_cast<uint64_t>(count_of(root, file, "checksum_block"));
  check(index.checksum_block > 0, "{}: \"checksum_block\" is 0", file);
  for (const element item : value_of<array>(root, file, "files")) index.files.push_back(file_from(item, file));
  for (const auto field : value_of<object>(root, file, "tensors")) {
    const std::string where = file + ": tensor " + quoted_name(field.key);
    StoredTensor tensor;
    tensor.name = field.key;
    tensor.dtype = parse_dtype(value_of<std::string_view>(field.value, where, "dtype"));
    tensor.shape = shape_of(field.value, where, "shape");
    for (const element item : value_of<array>(field.value, where, "pieces"))
      tensor.pieces.push_back(piece_from(item, tensor, index, where));
    index.tensors.push_back(std::move(tensor));
  }
  return index;
}

}  // namespace triax
