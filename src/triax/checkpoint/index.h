// The index of a checkpoint: which tensors it holds, and in which file which piece of each lies.
//
// index.json is JSON that any tool can read:
//
//   {"format": "triax-checkpoint", "version": 1, "step": 1000, "state": {...},
//    "total_bytes": ..., "checksum_block": 16777216,
//    "files":   [{"name": "pieces-00000-of-00002.safetensors", "bytes": ..., "header_checksum": "<hex>"}],
//    "tensors": {name: {"dtype": "F32", "shape": [...], "pieces": [
//                 {"file": 0, "offset": [...], "shape": [...], "range": [begin, end], "checksums": ["<hex>"]}]}},
//    "index_checksum": "<hex>"}
//
// A piece is the tensor named piece_key() in its file. Checksums are XXH3-64: of every "checksum_block"
// bytes of the piece (the last block may be shorter), of the file's header, and of the index itself up to
// its own checksum, so that no byte of a checkpoint can change unnoticed, and reading a part of a piece
// checks no more than the blocks it touches.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "triax/checkpoint/region.h"
#include "triax/tensor/tensor.h"

namespace triax {

inline constexpr uint64_t kChecksumBlock = uint64_t{16} << 20;

struct StoredFile {
  std::string name;
  uint64_t bytes = 0;
  uint64_t header_checksum = 0;
};

struct StoredPiece {
  size_t file = 0;  // in CheckpointIndex::files
  Region region;
  std::vector<uint64_t> checksums;
};

struct StoredTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::vector<StoredPiece> pieces;

  uint64_t bytes() const { return static_cast<uint64_t>(shape.numel()) * size_of(dtype); }
};

struct CheckpointIndex {
  int64_t step = 0;
  std::string state = "{}";  // a JSON object of the user's
  uint64_t checksum_block = kChecksumBlock;
  std::vector<StoredFile> files;
  std::vector<StoredTensor> tensors;  // by name

  uint64_t total_bytes() const;  // of all tensors
  const StoredTensor* find(std::string_view name) const;
};

// The name of a piece in its file: the tensor's own when the piece is the whole tensor, otherwise with the
// region, as in "mlp_up.weight[0:512, 0:768]".
std::string piece_key(const StoredTensor& tensor, const Region& region);

std::string to_json(const CheckpointIndex& index);
// Throws Error naming `path` when the text is not an index, was altered, or describes impossible pieces.
CheckpointIndex parse_index(std::string_view json, const std::filesystem::path& path);

// The index of a whole checkpoint from those of its ranks. Throws Error naming the tensor and the region
// when ranks disagree on a tensor, when two pieces share elements, or when elements are in no piece.
CheckpointIndex merge_indexes(std::vector<CheckpointIndex> parts, const std::filesystem::path& path);

// `text` as compact JSON; throws Error, beginning with `what`, unless it is a JSON object.
std::string compact_json_object(std::string_view text, std::string_view what);

}  // namespace triax
