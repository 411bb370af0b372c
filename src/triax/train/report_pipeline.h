// The pipeline in the report of a run: what each rank of it did in one step, as inline SVG, with idle
// time beside the published formula, memory beside its prediction and communication beside its formulas.
#pragma once

#include <string>

#include "triax/train/pipeline_record.h"

namespace triax {

// HTML with its heading. Throws Error as idle_of() does.
std::string pipeline_section(const PipelineRecord& record);

}  // namespace triax
