// A plan as text, for the terminal.
#pragma once

#include <string>

#include "triax/plan/whole_run.h"

namespace triax {

// Time of a step by what it is spent on, of the mean pipeline rank.
struct Slice {
  std::string what;
  double seconds = 0;
  int colour = 0;  // in pictures
};
std::vector<Slice> slices(const StepPrediction& step);

std::string ranking_table(const SearchResult& result, const Hardware& hardware, size_t rows);
std::string time_table(const Candidate& candidate);
// By purpose, of the fullest rank and of the first, a middle and the last.
std::string memory_table(const Candidate& candidate, const Hardware& hardware);
std::string forecast_table(const RunForecast& forecast, const Candidate& candidate);
std::string scaling_table(const std::vector<ScalingPoint>& points);

}  // namespace triax
