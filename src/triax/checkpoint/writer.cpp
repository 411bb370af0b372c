#include <algorithm>
#include <map>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/hash.h"
#include "triax/checkpoint/checkpoint.h"
#include "triax/checkpoint/directory.h"
#include "triax/checkpoint/safetensors.h"
#include "triax/tensor/device.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

void check_piece(const TensorPiece& piece) {
  check(is_inside(piece.region, piece.global_shape), "tensor {}: the piece {} is not inside its shape {}",
        quoted_name(piece.name), piece.region.to_string(), piece.global_shape.to_string());
  check(piece.data.numel() == piece.region.numel(), "tensor {}: the piece {} has {} elements, and its data {}",
        quoted_name(piece.name), piece.region.to_string(), piece.region.numel(), piece.data.numel());
}

// Writes a tensor's bytes and returns the checksum of each block.
std::vector<uint64_t> write_blocks(SafetensorsWriter& file, const void* data, uint64_t bytes) {
  std::vector<uint64_t> checksums;
  const char* block = static_cast<const char*>(data);
  for (uint64_t left = bytes; left > 0;) {
    const auto n = static_cast<size_t>(std::min(left, kChecksumBlock));
    checksums.push_back(hash64(block, n));
    file.write(block, n);
    block += n;
    left -= n;
  }
  return checksums;
}

}  // namespace

TensorPiece whole_piece(std::string name, const Tensor& data) {
  return {std::move(name), data.shape(), whole_region(data.shape()), data};
}

void prepare_checkpoint(const CheckpointTarget& target) {
  fs::create_directories(target.root);
  detail::clean_root(target.root);
  fs::create_directory(detail::temporary_path(target));
  fsync_path(target.root);
}

void write_checkpoint_pieces(const CheckpointTarget& target, std::span<const TensorPiece> pieces) {
  write_checkpoint_pieces(target, pieces, [](const TensorPiece& piece) { return piece.data; });
}

void write_checkpoint_pieces(const CheckpointTarget& target, std::span<const TensorPiece> pieces,
                             const std::function<Tensor(const TensorPiece&)>& data) {
  check(target.rank >= 0 && target.rank < target.num_ranks, "rank {} of {} cannot write a checkpoint",
        target.rank, target.num_ranks);
  const fs::path directory = detail::temporary_path(target);
  check(fs::is_directory(directory), "{}: prepare_checkpoint() has not been called", directory.string());

  std::map<std::string, StoredTensor> tensors;
  std::vector<SafetensorsSpec> specs;
  std::unordered_map<std::string, const TensorPiece*> by_key;
  for (const TensorPiece& piece : pieces) {
    check_piece(piece);
    StoredTensor& tensor = tensors[piece.name];
    if (tensor.name.empty()) tensor = {piece.name, piece.data.dtype(), piece.global_shape, {}};
    check(tensor.dtype == piece.data.dtype() && tensor.shape == piece.global_shape,
          "tensor {}: two pieces of it disagree on its type or its shape", quoted_name(piece.name));
    const std::string key = piece_key(tensor, piece.region);
    by_key.emplace(key, &piece);
    specs.push_back({key, piece.data.dtype(),
                     piece.region.is_box() ? piece.region.shape : Shape{piece.region.numel()}});
  }

  const std::string file_name = detail::pieces_name(target.rank, target.num_ranks);
  SafetensorsWriter file(directory / file_name, std::move(specs));
  for (const SafetensorsSpec& spec : file.order()) {
    const TensorPiece& piece = *by_key.at(spec.name);
    const HostCopy on_host(data(piece));
    const Tensor& elements = on_host.view();
    check(elements.numel() == piece.region.numel() && elements.dtype() == spec.dtype &&
              elements.is_contiguous() &&
              (elements.defined() || elements.numel() == 0),
          "tensor {}: its data is not {} contiguous elements of {}", quoted_name(spec.name),
          piece.region.numel(), name_of(spec.dtype));
    tensors.at(piece.name).pieces.push_back(
        {0, piece.region, write_blocks(file, elements.raw(), elements.bytes())});
  }
  file.commit();

  CheckpointIndex index;
  index.step = target.step;
  index.files.push_back({file_name, file.file_bytes(), hash64(file.header())});
  for (auto& [name, tensor] : tensors) index.tensors.push_back(std::move(tensor));
  write_file_atomic(directory / detail::rank_index_name(target.rank), to_json(index));
}

void publish_checkpoint(const CheckpointTarget& target, std::string_view state) {
  const fs::path directory = detail::temporary_path(target), final_path = checkpoint_path(target.root, target.step);
  const std::string compact_state = compact_json_object(state, "the state of a checkpoint");
  std::vector<CheckpointIndex> parts;
  for (int rank = 0; rank < target.num_ranks; ++rank) {
    const fs::path part = directory / detail::rank_index_name(rank);
    check(fs::exists(part), "{}: rank {} has not written its pieces", part.string(), rank);
    parts.push_back(parse_index(read_file(part), part));
  }
  CheckpointIndex index = merge_indexes(std::move(parts), directory);
  index.state = compact_state;
  for (const StoredFile& file : index.files) {
    std::error_code error;
    check(fs::file_size(directory / file.name, error) == file.bytes && !error,
          "{}: this rank does not see the {} bytes that were written; is {} on a file system that all ranks share?",
          (directory / file.name).string(), file.bytes, target.root.string());
  }
  write_file_atomic(directory / detail::kIndexName, to_json(index));
  for (int rank = 0; rank < target.num_ranks; ++rank) fs::remove(directory / detail::rank_index_name(rank));
  fsync_path(directory);
  detail::publish_directory(directory, final_path);
  // For people and scripts; triax itself looks for the newest whole checkpoint.
  write_file_atomic(target.root / "latest", final_path.filename().string() + "\n");
}

void save_checkpoint(const CheckpointTarget& target, std::span<const TensorPiece> pieces,
                     std::string_view state) {
  compact_json_object(state, "the state of a checkpoint");  // refuse it before anything is written
  prepare_checkpoint(target);
  write_checkpoint_pieces(target, pieces);
  publish_checkpoint(target, state);
}

}  // namespace triax
