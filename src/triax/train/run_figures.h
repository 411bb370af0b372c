// Figures of a run that its report shows and draws, from what it logged.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "triax/train/report.h"

namespace triax {

inline constexpr double kNoFigure = std::numeric_limits<double>::quiet_NaN();

// A value of every logged step.
std::vector<double> column(const RunRecord& run, double StepMetrics::* value);
// The middle value of those that are positive; NaN without any. The first steps, which also warm up caches, do not pull it.
double median(std::vector<double> values);
// Steps that curves are smoothed over.
double smoothing_window(const RunRecord& run);
// Smoothed; NaN where none was logged.
double final_train_loss(const RunRecord& run);
// Null where there is none.
const ValidationMetrics* best_validation(const RunRecord& run);
int64_t last_step(const RunRecord& run);
// Time in steps: those between two lines are taken to be as long as the one that was logged.
double training_seconds(const RunRecord& run);
// A line of the run's environment; empty where it is not there.
std::string environment_fact(const RunRecord& run, std::string_view name);

}  // namespace triax
