// Doing what a plan says: each stage is a child process, done once; a study that was interrupted goes on.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "triax/study/plan.h"

namespace triax::study {

enum class StageState { to_do, changed, done };  // changed: was done, or begun, with other settings

// Of every stage, from the notes in output.dir.
std::vector<StageState> states_of(const StudyPlan& plan, const std::filesystem::path& dir);

// Runs `program` for every stage that is not done. What it says goes to dir/logs. A stage whose settings, files or
// predecessors have changed is begun anew. Throws Error with the last lines of the log when one fails.
void run_study(const StudyPlan& plan, const std::filesystem::path& dir, const std::string& program);

}  // namespace triax::study
