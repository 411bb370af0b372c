// A plan held against a finished run.
#pragma once

#include <filesystem>
#include <string>

#include "triax/plan/step.h"

namespace triax {

// Predicted beside measured, as text: the step (median of the run, its first steps left out), tokens per second, and rank
// by rank memory, each kind of computation, and idle time, as far as the run's folder tells. Throws Error naming what is
// missing there.
std::string compare_with_run(const std::filesystem::path& folder, const Hardware& hardware);

// The step in the run's pipeline.json and the same step simulated, as one trace: each measured rank with the simulated one
// below it, both from their first computation. Throws Error when the run has no pipeline.json.
void write_compared_trace(const std::filesystem::path& path, const std::filesystem::path& folder, const Hardware& hardware);

}  // namespace triax
