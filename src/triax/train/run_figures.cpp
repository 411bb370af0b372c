#include "triax/train/run_figures.h"

#include <algorithm>
#include <cmath>

#include "triax/html/chart.h"

namespace triax {

std::vector<double> column(const RunRecord& run, double StepMetrics::* value) {
  std::vector<double> out;
  for (const StepMetrics& m : run.metrics.train) out.push_back(m.*value);
  return out;
}

double median(std::vector<double> values) {
  std::erase_if(values, [](double v) { return !std::isfinite(v) || v <= 0; });
  if (values.empty()) return kNoFigure;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double smoothing_window(const RunRecord& run) {
  return std::clamp(static_cast<double>(run.metrics.train.size()) / 20, 1.0, 100.0);
}

double final_train_loss(const RunRecord& run) {
  const std::vector<double> loss = smoothed(column(run, &StepMetrics::loss), smoothing_window(run));
  return loss.empty() ? kNoFigure : loss.back();
}

const ValidationMetrics* best_validation(const RunRecord& run) {
  const ValidationMetrics* best = nullptr;
  for (const ValidationMetrics& m : run.metrics.validation) {
    if (std::isfinite(m.loss) && (!best || m.loss < best->loss)) best = &m;
  }
  return best;
}

int64_t last_step(const RunRecord& run) {
  int64_t step = run.metrics.train.empty() ? 0 : run.metrics.train.back().step;
  if (!run.metrics.validation.empty()) step = std::max(step, run.metrics.validation.back().step);
  return step;
}

double training_seconds(const RunRecord& run) {
  double seconds = 0;
  int64_t before = 0;
  for (const StepMetrics& m : run.metrics.train) {
    if (std::isfinite(m.step_seconds))
      seconds += m.step_seconds * static_cast<double>(std::max<int64_t>(m.step - before, 1));
    before = m.step;
  }
  return seconds;
}

std::string environment_fact(const RunRecord& run, std::string_view name) {
  for (const auto& [key, value] : run.environment) {
    if (key == name) return value;
  }
  return {};
}

}  // namespace triax
