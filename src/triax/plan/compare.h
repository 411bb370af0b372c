// A plan held against a finished run.
#pragma once

#include <filesystem>
#include <string>

#include "triax/plan/step.h"

namespace triax {

// Predicted beside measured, as text: the step (median of the run, its first steps left out), tokens per second, and rank
// by rank memory, time computing and idle, as far as the run's folder tells. Throws Error naming what is missing there.
std::string compare_with_run(const std::filesystem::path& folder, const Hardware& hardware);

}  // namespace triax
