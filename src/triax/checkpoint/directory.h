// Names inside a checkpoint root and a checkpoint, shared by the code that writes and reads them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "triax/checkpoint/checkpoint.h"
#include "triax/checkpoint/safetensors.h"

namespace triax::detail {

inline constexpr const char* kIndexName = "index.json";

std::filesystem::path temporary_path(const CheckpointTarget& target);  // <root>/step-00001000.tmp
std::string pieces_name(int rank, int num_ranks);
std::string rank_index_name(int rank);
// The step of "step-00001000"; nothing for any other name.
std::optional<int64_t> step_of(std::string_view name);

// Removes or restores what interrupted saves and removals left in the root.
void clean_root(const std::filesystem::path& root);
// Gives a finished temporary directory its name, in place of an older checkpoint of that step.
void publish_directory(const std::filesystem::path& temporary, const std::filesystem::path& final_path);

// Reads and checks index.json; plain errors, without a hint at other checkpoints.
CheckpointIndex load_index(const std::filesystem::path& checkpoint);
// Opens file `file` of a checkpoint and checks it against the index: size, header, pieces.
SafetensorsFile open_piece_file(const std::filesystem::path& checkpoint, const CheckpointIndex& index,
                                size_t file);
// The bytes of a piece in its file; Error when the file does not hold it as the index says.
std::span<const std::byte> find_piece(const SafetensorsFile& file, const StoredTensor& tensor,
                                      const StoredPiece& piece);

}  // namespace triax::detail
