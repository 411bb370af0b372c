// A plan as an HTML page that needs nothing else, and as a trace beside measured ones.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "triax/base/trace.h"
#include "triax/plan/whole_run.h"

namespace triax {

struct PlanPage {
  std::string run, hardware_name;
  Candidate best;
  Hardware hardware;
  RunForecast forecast;
  std::vector<std::string> reasons;
  std::vector<ScalingPoint> strong, weak;
};
std::string plan_page(const PlanPage& page);

// The pictures of the page, as <svg> elements for its style sheet.
std::string timeline_svg(const StepPlan& plan, const SimulatedStep& step);
std::string breakdown_svg(const StepPrediction& step);
std::string memory_svg(const Candidate& candidate, const Hardware& hardware);

// One simulated step, with the tracks and categories of a measured trace (base/trace.h); of each pipeline rank.
struct TracedRank {
  std::string name;
  std::vector<TraceSpan> spans;
};
std::vector<TracedRank> simulated_trace(const StepPlan& plan, const Hardware& hardware);
// Their processes have numbers that measured ranks do not have.
void write_simulated_trace(const std::filesystem::path& path, const StepPlan& plan, const Hardware& hardware);

}  // namespace triax
