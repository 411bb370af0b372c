#include "triax/checkpoint/directory.h"

#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/hash.h"

namespace triax {
namespace fs = std::filesystem;
namespace detail {
namespace {

constexpr std::string_view kTemporary = ".tmp", kReplaced = ".replaced.tmp", kRemoved = ".removed.tmp";

}  // namespace

fs::path temporary_path(const CheckpointTarget& target) {
  return checkpoint_path(target.root, target.step).string() + std::string(kTemporary);
}

std::string pieces_name(int rank, int num_ranks) {
  return fmt::format("pieces-{:05}-of-{:05}.safetensors", rank, num_ranks);
}

std::string rank_index_name(int rank) { return fmt::format("index-{:05}.json", rank); }

std::optional<int64_t> step_of(std::string_view name) {
  constexpr std::string_view kPrefix = "step-";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  int64_t step = 0;
  const auto [end, status] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (status != std::errc() || end != name.data() + name.size() || name.size() < 8 || step < 0)
    return std::nullopt;
  return step;
}

void clean_root(const fs::path& root) {
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(root)) {
    const std::string name = entry.path().filename().string();
    const size_t dot = name.find('.');
    if (dot != std::string::npos && name.ends_with(kTemporary) && step_of(name.substr(0, dot)))
      leftovers.push_back(entry.path());
  }
  for (const fs::path& leftover : leftovers) {
    const std::string name = leftover.filename().string();
    const fs::path published = root / name.substr(0, name.find('.'));
    // A save that was to replace a checkpoint was stopped half-way: the old one is the one to keep.
    if (name.ends_with(kReplaced) && !fs::exists(published)) {
      rename_durable(leftover, published);
    } else {
      fs::remove_all(leftover);
    }
  }
}

void publish_directory(const fs::path& temporary, const fs::path& final_path) {
  if (!fs::exists(final_path)) return rename_durable(temporary, final_path);
  // The two directories change places in one step, where the file system can do that.
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, final_path.c_str(), RENAME_EXCHANGE) == 0) {
    fsync_path(final_path.parent_path());
    fs::remove_all(temporary);
    return;
  }
  const int code = errno;
  check(code == EINVAL || code == ENOSYS || code == ENOTSUP, "cannot exchange {} and {}: {}", temporary.string(),
        final_path.string(), std::strerror(code));
  const fs::path replaced = final_path.string() + std::string(kReplaced);
  rename_durable(final_path, replaced);
  rename_durable(temporary, final_path);
  fs::remove_all(replaced);
}

CheckpointIndex load_index(const fs::path& checkpoint) {
  const fs::path path = checkpoint / kIndexName;
  check(fs::is_directory(checkpoint), "{}: there is no checkpoint of that name", checkpoint.string());
  check(fs::exists(path), "{}: the checkpoint has no index: it is not whole", path.string());
  std::vector<CheckpointIndex> parts;
  parts.push_back(parse_index(read_file(path), path));
  return merge_indexes(std::move(parts), path);
}

SafetensorsFile open_piece_file(const fs::path& checkpoint, const CheckpointIndex& index, size_t file) {
  const StoredFile& stored = index.files[file];
  const fs::path path = checkpoint / stored.name;
  std::error_code error;
  const uint64_t bytes = fs::file_size(path, error);
  check(!error, "{}: this file of the checkpoint cannot be read: {}", path.string(), error.message());
  check(bytes == stored.bytes, "{}: it has {} bytes and was written with {}: it was {}", path.string(), bytes,
        stored.bytes, bytes < stored.bytes ? "truncated" : "altered");
  SafetensorsFile opened(path);
  check(hash64(opened.header().data(), opened.header().size()) == stored.header_checksum,
        "{}: the checksum of its header does not match: it was altered", path.string());
  return opened;
}

std::span<const std::byte> find_piece(const SafetensorsFile& file, const StoredTensor& tensor,
                                      const StoredPiece& piece) {
  const SafetensorsEntry& entry = file.get(piece_key(tensor, piece.region));
  check(entry.dtype == tensor.dtype && entry.shape.numel() == piece.region.numel(),
        "{}: tensor {} is {} {} in it, and the index says {} elements of {}", file.path().string(),
        quoted_name(entry.name), name_of(entry.dtype), entry.shape.to_string(), piece.region.numel(),
        name_of(tensor.dtype));
  return file.bytes(entry);
}

}  // namespace detail

fs::path checkpoint_path(const fs::path& root, int64_t step) {
  check(step >= 0, "the step of a checkpoint cannot be negative, and is {}", step);
  return root / fmt::format("step-{:08}", step);
}

std::vector<CheckpointEntry> list_checkpoints(const fs::path& root) {
  std::vector<CheckpointEntry> found;
  std::error_code error;
  for (fs::directory_iterator entry(root, error), end; !error && entry != end; entry.increment(error))
    if (const auto step = detail::step_of(entry->path().filename().string()); step && entry->is_directory())
      found.push_back({entry->path(), *step});
  check(!error || error == std::errc::no_such_file_or_directory, "cannot list {}: {}", root.string(),
        error.message());
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

void check_checkpoint_structure(const fs::path& checkpoint) {
  const CheckpointIndex index = detail::load_index(checkpoint);
  std::vector<SafetensorsFile> files;
  for (size_t file = 0; file < index.files.size(); ++file)
    files.push_back(detail::open_piece_file(checkpoint, index, file));
  for (const StoredTensor& tensor : index.tensors)
    for (const StoredPiece& piece : tensor.pieces) detail::find_piece(files[piece.file], tensor, piece);
}

std::optional<CheckpointEntry> newest_whole_checkpoint(const fs::path& root) {
  std::vector<CheckpointEntry> all = list_checkpoints(root);
  for (; !all.empty(); all.pop_back()) {
    try {
      check_checkpoint_structure(all.back().path);
      return all.back();
    } catch (const Error&) {  // the next older one may be whole
    }
  }
  return std::nullopt;
}

fs::path resolve_checkpoint(const fs::path& path) {
  check(fs::is_directory(path), "{}: there is no such checkpoint or run", path.string());
  if (fs::exists(path / detail::kIndexName) || detail::step_of((path / ".").parent_path().filename().string()))
    return path;
  for (const fs::path& root : {path / "checkpoints", path}) {
    if (const auto newest = newest_whole_checkpoint(root)) return newest->path;
    const size_t damaged = list_checkpoints(root).size();
    check(damaged == 0, "{}: none of its {} checkpoints is whole; `triax checkpoint list {}` tells what is wrong",
          root.string(), damaged, root.string());
  }
  fail("{}: neither a checkpoint (there is no {}) nor a run with checkpoints", path.string(), detail::kIndexName);
}

void prune_checkpoints(const fs::path& root, const KeepPolicy& policy) {
  if (policy.last <= 0) return;
  std::vector<CheckpointEntry> all = list_checkpoints(root);
  int whole = 0;
  for (; !all.empty() && whole < policy.last; all.pop_back()) {
    try {
      check_checkpoint_structure(all.back().path);
      ++whole;
    } catch (const Error&) {
    }
  }
  for (const CheckpointEntry& old : all) {
    if (policy.every > 0 && old.step % policy.every == 0) continue;
    // Under another name first, so that a removal that is interrupted leaves no half of a checkpoint.
    const fs::path removed = old.path.string() + std::string(detail::kRemoved);
    rename_durable(old.path, removed);
    fs::remove_all(removed);
  }
}

}  // namespace triax
