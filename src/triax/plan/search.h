// Which grid: all that fit a machine and a global batch, ranked by the time of a step.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "triax/plan/step.h"

namespace triax {

struct SearchOptions {
  int64_t devices = 1;
  // Keys of the run whose value is kept: "parallel.tensor_parallel", "train.micro_batch_size", "train.recompute", ...
  std::set<std::string> keep;
  int finalists = 24;         // simulated; the others are ranked by a closed form
  bool split_backward = true;  // also zb_h1
};
// The keys that a search chooses, and `keep` may hold.
std::vector<std::string> searched_keys();

struct Candidate {
  StepPlan plan;
  StepPrediction step;
  std::vector<RankMemory> memory;
  double memory_bytes = 0;  // of the fullest rank
};

struct SearchResult {
  std::vector<Candidate> ranked;  // that fit, fastest first
  std::vector<Candidate> front;   // none of the others is both faster and smaller; fastest first
  int64_t considered = 0, fitting = 0;
};

// `base` has the model, the batch, and what is kept. Throws Error telling the nearest that would do when no grid
// divides the batch and the model, or none fits the memory.
SearchResult search(const StepPlan& base, const Hardware& hardware, const SearchOptions& options);

// Predicts one plan, whether it fits or not.
Candidate evaluate(const StepPlan& plan, const Hardware& hardware, Detail detail = Detail::full);

// Why this one: each sentence compares it with a neighbour (the next larger or smaller t, b, v, ...).
std::vector<std::string> explain(const Candidate& chosen, const Hardware& hardware);
// What would make a plan fit that does not: each change, and the memory with it.
std::vector<std::string> remedies(const Candidate& candidate, const Hardware& hardware);

}  // namespace triax
