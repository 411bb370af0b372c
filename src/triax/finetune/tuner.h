// Tuning a model for a task: seeds, epochs, the best checkpoint by the dev score, early stopping. A run that
// was interrupted is gone on with, bit for bit, after the last whole epoch.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "triax/comm/world.h"
#include "triax/finetune/config.h"
#include "triax/finetune/task.h"

namespace triax::finetune {

struct EpochRecord {
  int64_t epoch = 0;
  double loss = 0;       // mean over the epoch's steps
  double dev = 0;        // the metric
  double seconds = 0, tokens_per_second = 0;
};

using Numbers = std::vector<std::pair<std::string, double>>;

struct SeedResult {
  int64_t seed = 0, best_epoch = 0;
  std::vector<EpochRecord> epochs;
  Score dev, test;  // of the best checkpoint; test.metric is empty without a test file
};

struct TuningResult {
  TaskKind kind = TaskKind::classify;
  FinetuneConfig config;
  std::vector<SeedResult> seeds;
};

struct Spread {
  double mean = 0, deviation = 0;  // of a sample; 0 for one
};
Spread spread_of(const std::vector<double>& values);

// Trains all seeds and writes to output.dir:
//   seed-<n>/best/              the best model, for `triax predict` and for transformers
//   seed-<n>/dev.jsonl, test.jsonl, and the benchmark's own form of the predictions
//   results.json, report.html
// `after_epoch` is called when an epoch is over and saved; it may end the run by throwing. The ranks of `world`, all of which
// call this, are the grid of [parallel]; the first writes.
TuningResult run_tuning(TaskKind kind, FinetuneConfig config, const std::function<void(int64_t)>& after_epoch = {}, World* world = nullptr);

// The tables for people.
std::string summary(const TuningResult& result);
std::string results_json(const TuningResult& result);
// One HTML page without other files.
std::string tuning_report(const TuningResult& result);

}  // namespace triax::finetune
