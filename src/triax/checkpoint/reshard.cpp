#include "triax/checkpoint/reshard.h"

#include <algorithm>
#include <vector>

#include "triax/base/error.h"

namespace triax {
namespace {

// The largest tensors first, each to the file that has least so far.
std::vector<std::vector<TensorPiece>> balance(const CheckpointIndex& index, int num_files) {
  std::vector<const StoredTensor*> by_size;
  for (const StoredTensor& tensor : index.tensors) by_size.push_back(&tensor);
  std::stable_sort(by_size.begin(), by_size.end(),
                   [](const StoredTensor* a, const StoredTensor* b) { return a->bytes() > b->bytes(); });
  std::vector<std::vector<TensorPiece>> files(static_cast<size_t>(num_files));
  std::vector<uint64_t> sizes(files.size());
  for (const StoredTensor* tensor : by_size) {
    const auto lightest = static_cast<size_t>(std::min_element(sizes.begin(), sizes.end()) - sizes.begin());
    sizes[lightest] += tensor->bytes();
    files[lightest].push_back(whole_piece(tensor->name, Tensor(nullptr, tensor->shape, tensor->dtype)));
  }
  return files;
}

}  // namespace

std::filesystem::path reshard_checkpoint(const CheckpointReader& source, const std::filesystem::path& root,
                                         int num_files, const std::function<void(uint64_t)>& progress) {
  const CheckpointIndex& index = source.index();
  check(num_files >= 1 && static_cast<size_t>(num_files) <= std::max<size_t>(1, index.tensors.size()),
        "{}: its {} tensors cannot be put in {} files; choose 1 to {}", source.path().string(),
        index.tensors.size(), num_files, std::max<size_t>(1, index.tensors.size()));
  CheckpointTarget target{root, index.step, 0, num_files};
  prepare_checkpoint(target);
  Buffer buffer;
  uint64_t done = 0;
  for (const std::vector<TensorPiece>& pieces : balance(index, num_files)) {
    write_checkpoint_pieces(target, pieces, [&](const TensorPiece& piece) {
      if (buffer.bytes() < piece.data.bytes()) {
        buffer = Buffer();
        buffer = Buffer(piece.data.bytes());
      }
      const Tensor data(buffer.data(), piece.global_shape, piece.data.dtype());
      source.read(piece.name, data);
      done += data.bytes();
      if (progress) progress(done);
      return data;
    });
    ++target.rank;
  }
  target.rank = 0;
  publish_checkpoint(target, source.state());
  return checkpoint_path(root, index.step);
}

}  // namespace triax
