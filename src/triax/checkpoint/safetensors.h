// safetensors files: the tensor format of Hugging Face (huggingface/safetensors, README "Format").
//
//   8 bytes   little-endian N, at most 100,000,000
//   N bytes   UTF-8 JSON: {"__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets"}}
//   the rest  the tensors' bytes, row-major little-endian, back to back without holes
//
// What is read is checked in full before a tensor is touched; every error names the file, the tensor and
// what is wrong. What is written is byte for byte what the reference writer gives: tensors by descending
// element type, then by name, the header padded with spaces to a multiple of 8 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "triax/base/file.h"
#include "triax/tensor/tensor.h"

namespace triax {

using SafetensorsMetadata = std::map<std::string, std::string>;

// A tensor as the header describes it; its bytes are [begin, end) of the data that follows the header.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  uint64_t begin = 0, end = 0;
};

// A file, mapped read-only. Throws Error when the file breaks any rule of the format, has a tensor of an
// element type triax has no use for (the 8-bit floats and smaller, complex), or of more than six axes.
// Safe to use from several threads.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  uint64_t file_bytes() const { return file_.size(); }
  // In the order of the file.
  const std::vector<SafetensorsEntry>& tensors() const { return tensors_; }
  const SafetensorsMetadata& metadata() const { return metadata_; }
  // Length field and JSON, as they are in the file.
  std::span<const std::byte> header() const { return file_.bytes().first(data_begin_); }

  const SafetensorsEntry* find(std::string_view name) const;  // null when there is none
  const SafetensorsEntry& get(std::string_view name) const;   // Error with the nearest name
  // A tensor's bytes; not necessarily aligned to its element type.
  std::span<const std::byte> bytes(const SafetensorsEntry& entry) const;
  // Copies a whole tensor to `to` (contiguous, on the CPU, same shape), converting between
  // floating-point types.
  void read(const SafetensorsEntry& entry, const Tensor& to) const;

 private:
  MappedFile file_;
  size_t data_begin_ = 0;
  std::vector<SafetensorsEntry> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;
  SafetensorsMetadata metadata_;
};

struct SafetensorsSpec {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};

// Writes a file tensor by tensor, in bounded memory. Nothing is visible at `path` before commit().
class SafetensorsWriter {
 public:
  // Throws Error when a name appears twice or is "__metadata__", or a text is not UTF-8.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<SafetensorsSpec> tensors,
                    const SafetensorsMetadata& metadata = {});

  // The tensors in the order in which write() must be given their bytes.
  const std::vector<SafetensorsSpec>& order() const { return order_; }
  void write(const void* data, size_t bytes) { file_.write(data, bytes); }
  const std::string& header() const { return header_; }
  uint64_t file_bytes() const { return header_.size() + data_bytes_; }
  // Flushes to the disk and gives the file its name. Throws Error unless exactly the bytes of all tensors
  // were written.
  void commit();

 private:
  std::vector<SafetensorsSpec> order_;
  uint64_t data_bytes_ = 0;
  std::string header_;
  FileWriter file_;
};

// A model directory of Hugging Face: one model.safetensors, or the shards that its
// model.safetensors.index.json names. Shards are mapped when they are first needed.
class SafetensorsDirectory {
 public:
  explicit SafetensorsDirectory(const std::filesystem::path& directory);

  const std::filesystem::path& path() const { return directory_; }
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const { return shard_of_.contains(std::string(name)); }
  // The file that holds a tensor; Error with the nearest name when there is no such tensor, and when the
  // shard that should hold it does not.
  const SafetensorsFile& file_of(std::string_view name);
  void read(std::string_view name, const Tensor& to);

 private:
  const SafetensorsFile& shard(const std::string& file);
  std::filesystem::path directory_;
  std::string source_;  // the file that lists the tensors, for messages
  std::map<std::string, std::string, std::less<>> shard_of_;  // tensor -> file
  std::map<std::string, SafetensorsFile> shards_;
};

// A name as it appears in messages: in quotes, control characters escaped, cut when very long.
std::string quoted_name(std::string_view name);

}  // namespace triax
