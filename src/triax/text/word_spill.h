// Counts of words on disk, for corpora whose distinct words do not fit into memory: sorted runs, merged in the end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "triax/text/word_counts.h"

namespace triax::text {

void write_word_run(const WordCounts& counts, const std::filesystem::path& path);

// The sum of the runs: all words where learning from them takes at most `memory_bytes`, else those with the highest
// counts (words of equal count stay together, or go together).
WordCounts merge_word_runs(std::span<const std::filesystem::path> runs, WordRule rule, uint64_t memory_bytes);

}  // namespace triax::text
