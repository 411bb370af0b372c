#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/base/text.h"
#include "triax/checkpoint/checkpoint.h"
#include "triax/checkpoint/directory.h"
#include "triax/checkpoint/elements.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

// What a message about a damaged checkpoint ends with: the newest other one that is whole.
std::string other_checkpoint_hint(const fs::path& checkpoint) {
  const fs::path plain = (checkpoint / ".").parent_path();  // without a slash at the end
  const fs::path root = plain.parent_path();
  try {
    std::vector<CheckpointEntry> all = list_checkpoints(root.empty() ? "." : root);
    for (; !all.empty(); all.pop_back()) {
      const fs::path name = all.back().path.filename();
      if (name == plain.filename()) continue;
      try {
        check_checkpoint_structure(all.back().path);
        return fmt::format("; use step {}, which is whole: --set checkpoint.load={}", all.back().step,
                           (root / name).string());
      } catch (const Error&) {
      }
    }
  } catch (const std::exception&) {
  }
  return "; there is no other whole checkpoint beside it";
}

// Runs an action whose errors mean that the checkpoint is damaged, and adds the hint to them.
template <typename Action>
auto with_hint(const fs::path& checkpoint, Action&& action) {
  try {
    return action();
  } catch (const Error& error) {
    throw Error(error.what() + other_checkpoint_hint(checkpoint));
  }
}

}  // namespace

struct CheckpointReader::Impl {
  Impl(fs::path checkpoint, ReadOptions read_options)
      : path(std::move(checkpoint)),
        options(read_options),
        index(with_hint(path, [&] { return detail::load_index(path); })),
        files(index.files.size()) {
    size_t blocks = 0;
    for (const StoredTensor& tensor : index.tensors)
      for (const StoredPiece& piece : tensor.pieces) {
        first_block.emplace(&piece, blocks);
        blocks += piece.checksums.size();
      }
    verified = std::vector<std::atomic<bool>>(blocks);
  }

  const SafetensorsFile& file(size_t number) {
    const std::lock_guard lock(mutex);
    if (!files[number])
      files[number] = std::make_unique<SafetensorsFile>(detail::open_piece_file(path, index, number));
    return *files[number];
  }

  // Checks the blocks that bytes [begin, end) of a piece touch, those that have not been yet.
  void verify_blocks(const StoredTensor& tensor, const StoredPiece& piece, std::span<const std::byte> bytes,
                     uint64_t begin, uint64_t end) {
    const uint64_t size = index.checksum_block;
    for (uint64_t block = begin / size; block * size < end; ++block) {
      std::atomic<bool>& done = verified[first_block.at(&piece) + block];
      if (done.load(std::memory_order_relaxed)) continue;
      const uint64_t first = block * size, count = std::min<uint64_t>(size, bytes.size() - first);
      check(hash64(bytes.data() + first, count) == piece.checksums[block],
            "{}: tensor {}: the checksum of bytes {} to {} does not match: the file was altered or damaged",
            (path / index.files[piece.file].name).string(), quoted_name(piece_key(tensor, piece.region)), first,
            first + count);
      done.store(true, std::memory_order_relaxed);
    }
  }

  // Copies what `piece` has of `wanted` and returns how many elements that was.
  int64_t read_piece(const StoredTensor& tensor, const StoredPiece& piece, const Region& wanted, const Tensor& to) {
    const size_t from_size = size_of(tensor.dtype), to_size = size_of(to.dtype());
    int64_t first = -1, last = 0;
    for_each_overlap(piece.region, wanted, [&](int64_t at, int64_t, int64_t n) {
      if (first < 0) first = at;
      last = at + n;
    });
    if (first < 0) return 0;
    const std::span<const std::byte> bytes = detail::find_piece(file(piece.file), tensor, piece);
    if (options.verify)
      verify_blocks(tensor, piece, bytes, static_cast<uint64_t>(first) * from_size,
                    static_cast<uint64_t>(last) * from_size);
    int64_t copied = 0;
    auto* const out = static_cast<std::byte*>(to.raw());
    for_each_overlap(piece.region, wanted, [&](int64_t from, int64_t at, int64_t n) {
      copy_elements(bytes.data() + static_cast<size_t>(from) * from_size, tensor.dtype,
                    out + static_cast<size_t>(at) * to_size, to.dtype(), n);
      copied += n;
    });
    return copied;
  }

  fs::path path;
  ReadOptions options;
  CheckpointIndex index;
  std::mutex mutex;  // of `files`
  std::vector<std::unique_ptr<SafetensorsFile>> files;
  std::unordered_map<const StoredPiece*, size_t> first_block;  // in `verified`
  std::vector<std::atomic<bool>> verified;
};

CheckpointReader::CheckpointReader(fs::path checkpoint, ReadOptions options)
    : impl_(std::make_unique<Impl>(std::move(checkpoint), options)) {}
CheckpointReader::~CheckpointReader() = default;
CheckpointReader::CheckpointReader(CheckpointReader&&) noexcept = default;
CheckpointReader& CheckpointReader::operator=(CheckpointReader&&) noexcept = default;

const fs::path& CheckpointReader::path() const { return impl_->path; }
int64_t CheckpointReader::step() const { return impl_->index.step; }
const std::string& CheckpointReader::state() const { return impl_->index.state; }
const CheckpointIndex& CheckpointReader::index() const { return impl_->index; }

const StoredTensor& CheckpointReader::get(std::string_view name) const {
  if (const StoredTensor* tensor = index().find(name)) return *tensor;
  std::vector<std::string> names;
  for (const StoredTensor& tensor : index().tensors) names.push_back(tensor.name);
  const std::string nearest = nearest_name(name, names);
  fail("{}: there is no tensor {}{}", path().string(), quoted_name(name),
       nearest.empty() ? "" : "; the nearest name is " + quoted_name(nearest));
}

void CheckpointReader::read(std::string_view name, const Region& region, const Tensor& to,
                            Outside outside) const {
  const StoredTensor& tensor = get(name);
  const std::string where = fmt::format("{}: tensor {}", path().string(), quoted_name(name));
  if (outside == Outside::error) {
    check(is_inside(region, tensor.shape), "{}: the region {} is not inside its shape {}", where,
          region.to_string(), tensor.shape.to_string());
  } else {
    check(region.shape.rank() == tensor.shape.rank() && region.offset.rank() == tensor.shape.rank(),
          "{}: the region {} has not the axes of its shape {}", where, region.to_string(), tensor.shape.to_string());
  }
  check(to.numel() == region.numel() && to.is_contiguous() && to.device().kind == Device::Kind::cpu,
        "{}: the region {} cannot be read into {}: contiguous CPU memory of {} elements is needed", where,
        region.to_string(), to.shape().to_string(), region.numel());
  check(can_convert(tensor.dtype, to.dtype()), "{}: elements of {} cannot be read as {}", where,
        name_of(tensor.dtype), name_of(to.dtype()));
  if (region.numel() == 0) return;

  const int64_t present = overlap_numel(region, whole_region(tensor.shape));
  if (present < region.numel()) std::memset(to.raw(), 0, to.bytes());
  with_hint(path(), [&] {
    int64_t copied = 0;
    for (const StoredPiece& piece : tensor.pieces) {
      copied += impl_->read_piece(tensor, piece, region, to);
      if (copied == present) break;  // pieces do not overlap
    }
    check(copied == present, "{}: only {} of {} elements of {} were found", where, copied, present, region.to_string());
  });
}

void CheckpointReader::read(std::string_view name, const Tensor& to) const {
  const StoredTensor& tensor = get(name);
  check(to.shape() == tensor.shape, "{}: tensor {} has shape {}, and {} is wanted", path().string(),
        quoted_name(name), tensor.shape.to_string(), to.shape().to_string());
  read(name, whole_region(tensor.shape), to);
}

void CheckpointReader::verify(const std::function<void(uint64_t)>& progress) const {
  with_hint(path(), [&] {
    uint64_t done = 0;
    for (size_t file = 0; file < index().files.size(); ++file) impl_->file(file);
    for (const StoredTensor& tensor : index().tensors)
      for (const StoredPiece& piece : tensor.pieces) {
        const std::span<const std::byte> bytes = detail::find_piece(impl_->file(piece.file), tensor, piece);
        for (uint64_t begin = 0; begin < bytes.size(); begin += index().checksum_block) {
          const uint64_t end = std::min<uint64_t>(bytes.size(), begin + index().checksum_block);
          impl_->verify_blocks(tensor, piece, bytes, begin, end);
          done += end - begin;
          if (progress) progress(done);
        }
      }
  });
}

}  // namespace triax
