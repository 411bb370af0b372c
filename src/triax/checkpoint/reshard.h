// Rewriting a checkpoint with another number of files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "triax/checkpoint/checkpoint.h"

namespace triax {

// Writes the checkpoint again under another (or the same) root, every tensor whole in one of `num_files`
// files of about equal size; returns its path. Reads a tensor at a time. progress(bytes written) is called
// after every tensor. Throws Error when there are fewer tensors than files.
std::filesystem::path reshard_checkpoint(const CheckpointReader& source, const std::filesystem::path& root,
                                         int num_files, const std::function<void(uint64_t)>& progress = {});

}  // namespace triax
