// The curves of a report: losses, throughput and whatever else runs logged step by step.
#pragma once

#include <span>
#include <string>

#include "triax/train/report.h"

namespace triax {

// HTML; several runs are drawn over each other.
std::string curves_section(std::span<const RunRecord> runs);

}  // namespace triax
