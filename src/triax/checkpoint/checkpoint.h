// Training checkpoints that do not depend on the grid that wrote them.
//
// A checkpoint is a directory <root>/step-00001000 with one safetensors file per rank and index.json (see
// index.h). Every rank writes the pieces it has, wherever they lie in the global tensors, and any rank of
// any other grid reads the regions it wants: nothing is ever gathered.
//
// A checkpoint appears whole or not at all. It is written to <root>/step-00001000.tmp; the index is
// written last, everything is flushed to the disk, and then the directory gets its name. A process killed
// at any moment leaves the earlier checkpoints as they were and at most a .tmp directory, which the next
// save removes. Saving a step that is there already replaces it.
//
// One process:    save_checkpoint({root, step}, pieces, state)
//
// Many ranks, with a barrier between the parts (the functions themselves do not communicate):
//   rank 0:       prepare_checkpoint(target)             -- barrier --
//   every rank:   write_checkpoint_pieces(target, ...)   -- barrier --
//   rank 0:       publish_checkpoint(target, state);  prune_checkpoints(...)
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "triax/checkpoint/index.h"
#include "triax/checkpoint/region.h"
#include "triax/tensor/tensor.h"

namespace triax {

// ---- writing ---------------------------------------------------------------------------------------

// One rank's share of a tensor. Of several identical copies (data-parallel replicas) exactly one rank may
// pass its own. Pieces may be empty.
struct TensorPiece {
  std::string name;  // of the global tensor, the same on every grid
  Shape global_shape;
  Region region;
  Tensor data;  // contiguous: region.numel() elements of any shape
};

// A tensor that is not sharded.
TensorPiece whole_piece(std::string name, const Tensor& data);

struct CheckpointTarget {
  std::filesystem::path root;
  int64_t step = 0;
  int rank = 0;
  int num_ranks = 1;
};

// <root>/step-00001000
std::filesystem::path checkpoint_path(const std::filesystem::path& root, int64_t step);

// Creates the root and the temporary directory; removes what interrupted saves left. One rank calls it, and
// no other process may be saving to the same root.
void prepare_checkpoint(const CheckpointTarget& target);

// Writes this rank's pieces and its share of the index, and flushes them to the disk.
void write_checkpoint_pieces(const CheckpointTarget& target, std::span<const TensorPiece> pieces);
// The same for pieces that are not in memory all at once: data(piece) is called for one piece after the
// other and returns its elements, which need to live until the next call.
void write_checkpoint_pieces(const CheckpointTarget& target, std::span<const TensorPiece> pieces,
                             const std::function<Tensor(const TensorPiece&)>& data);

// Merges the ranks' indexes, checks that every element of every tensor is there exactly once, and gives the
// checkpoint its name. `state` is a JSON object: what training needs besides tensors to continue exactly
// (consumed samples, seed, loss scale, the run's configuration).
void publish_checkpoint(const CheckpointTarget& target, std::string_view state);

// All three, for a single process.
void save_checkpoint(const CheckpointTarget& target, std::span<const TensorPiece> pieces,
                     std::string_view state);

struct KeepPolicy {
  int last = 0;       // keep this many of the newest whole checkpoints; 0 keeps all
  int64_t every = 0;  // and those whose step is a multiple of this; 0 adds none
};
// Removes what the policy does not keep, never the newest whole checkpoint. A checkpoint that is damaged
// does not count as kept, and goes when it is older than those that are.
void prune_checkpoints(const std::filesystem::path& root, const KeepPolicy& policy);

// ---- finding ---------------------------------------------------------------------------------------

struct CheckpointEntry {
  std::filesystem::path path;
  int64_t step = 0;
};
// The published checkpoints of a root, oldest first, whole or not; empty when there is no such directory.
std::vector<CheckpointEntry> list_checkpoints(const std::filesystem::path& root);

// Throws Error naming the first file that is missing, truncated, or not what the index says. Reads the
// index and the files' headers, not the tensors.
void check_checkpoint_structure(const std::filesystem::path& checkpoint);

// The newest checkpoint that passes check_checkpoint_structure().
std::optional<CheckpointEntry> newest_whole_checkpoint(const std::filesystem::path& root);

// What a user may mean by a path: a checkpoint itself, or the newest whole one of a directory of checkpoints
// or of a run (with its checkpoints in checkpoints/). Throws Error saying what was found instead.
std::filesystem::path resolve_checkpoint(const std::filesystem::path& path);

// ---- reading ---------------------------------------------------------------------------------------

struct ReadOptions {
  bool verify = true;  // check the checksums of the blocks that are read, each block once
};

enum class Outside {
  error,  // a region that reaches outside the stored tensor is an Error
  zero,   // elements outside read as 0: a vocabulary that is padded further on another grid
};

// Reads a published checkpoint. Files are mapped when first needed; only the bytes asked for are touched.
// Safe to use from several threads. Errors about damaged files name file and tensor, and the newest whole
// checkpoint that can be used instead.
class CheckpointReader {
 public:
  explicit CheckpointReader(std::filesystem::path checkpoint, ReadOptions options = {});
  ~CheckpointReader();
  CheckpointReader(CheckpointReader&&) noexcept;
  CheckpointReader& operator=(CheckpointReader&&) noexcept;

  const std::filesystem::path& path() const;
  int64_t step() const;
  const std::string& state() const;  // JSON
  const CheckpointIndex& index() const;
  bool contains(std::string_view name) const { return index().find(name) != nullptr; }
  const StoredTensor& get(std::string_view name) const;  // Error with the nearest name

  // Reads a region of a tensor to `to`: contiguous, on the CPU, region.numel() elements of any shape.
  // Converts between floating-point types.
  void read(std::string_view name, const Region& region, const Tensor& to,
            Outside outside = Outside::error) const;
  // The whole tensor; `to` must have its shape.
  void read(std::string_view name, const Tensor& to) const;

  // Checks every byte of every file against the index and throws Error at the first damage.
  // progress(bytes done) is called now and then.
  void verify(const std::function<void(uint64_t)>& progress = {}) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace triax
