// A study as a list of stages, each a run of triax: what cells share is one stage.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "triax/study/config.h"

namespace triax::study {

// One run of triax.
struct Stage {
  std::string kind;                             // "vocabulary", "pack", "pretrain", "convert", "transfer", "finetune"
  std::string name;                             // "pretrain bio-8k bio small scratch"; different for all stages
  std::vector<std::string> arguments;           // behind "triax"
  std::vector<std::string> needs;               // names of stages before it
  std::vector<std::filesystem::path> reads;     // the user's files that its result hangs on
  std::filesystem::path output;                 // file or folder it makes
  bool goes_on = false;                         // an interrupted run is gone on with, not begun anew
};

struct TaskResult {
  std::string task;
  std::filesystem::path folder;  // of the fine-tuning: results.json, report.html
};

// A combination of levels.
struct Cell {
  std::string vocabulary, corpus, size, start;
  std::vector<TaskResult> tasks;
};

struct StudyPlan {
  std::vector<Stage> stages;       // each behind those it needs
  std::vector<Cell> cells;
  std::vector<std::string> notes;  // combinations that are left out, and why
};

// Relative paths in the configuration are relative to the present folder. Throws Error naming key and level.
StudyPlan plan_study(const StudyConfig& config);

}  // namespace triax::study
