#include "triax/plan/whole_run.h"

#include <algorithm>
#include <cmath>

#include "triax/base/error.h"

namespace triax {

RunForecast forecast(const StepPlan& plan, const StepPrediction& step, const Hardware& hardware, double tokens) {
  RunForecast f;
  f.tokens = tokens;
  f.steps = std::ceil(tokens / static_cast<double>(plan.global_batch_size * plan.sequence_length));
  f.seconds = f.steps * step.seconds;
  const double devices = static_cast<double>(plan.devices());
  const double nodes = std::ceil(devices / static_cast<double>(hardware.node.devices));
  // Half-precision weights, fp32 weights and two moments; our own format has no half-precision copy.
  const double bytes_each = hardware.device.kind == "gpu" ? 14 : 12;
  f.checkpoint_bytes = bytes_each * static_cast<double>(plan.model.num_parameters());
  f.save_seconds = f.checkpoint_bytes / hardware.storage.write_bandwidth;
  // Every data-parallel copy reads it.
  f.load_seconds = f.checkpoint_bytes * static_cast<double>(plan.data_parallel) / hardware.storage.read_bandwidth;
  f.job_mtbf_hours = hardware.cost.node_mtbf_hours / nodes;
  const double mtbf = f.job_mtbf_hours * 3600;
  f.save_interval = std::max(best_save_interval(f.save_seconds, mtbf), step.seconds);
  // Of each interval the save is lost; of each failure half an interval, the restart and the load.
  const double saving = f.save_seconds / (f.save_interval + f.save_seconds);
  const double failing = (f.save_interval / 2 + hardware.cost.restart_seconds + f.load_seconds) / mtbf;
  f.goodput = std::max(0.0, (1 - saving) * (1 - failing));
  check(f.goodput > 0, "a job of {} hosts fails every {:.1f} hours and would never finish; raise cost.node_mtbf_hours or use fewer hosts",
        nodes, f.job_mtbf_hours);
  const double wall = f.seconds / f.goodput;
  f.failures = wall / mtbf;
  f.days = wall / 86400;
  f.device_hours = wall / 3600 * devices;
  f.energy_kwh = wall / 3600 * nodes * hardware.node.watts / 1000 * hardware.cost.power_usage_effectiveness;
  f.money = f.device_hours * hardware.cost.price_per_device_hour + f.energy_kwh * hardware.cost.price_per_kwh;
  return f;
}

std::vector<ScalingPoint> scaling(const StepPlan& base, const Hardware& hardware, SearchOptions options, bool weak) {
  std::vector<ScalingPoint> points;
  const int64_t devices = options.devices;
  options.finalists = 4;
  for (const int64_t parts : {8, 4, 2, 1, -2, -4}) {
    StepPlan plan = base;
    if (parts > 0 && (devices % parts != 0 || (weak && base.global_batch_size % parts != 0))) continue;
    options.devices = parts > 0 ? devices / parts : devices * -parts;
    if (weak) plan.global_batch_size = parts > 0 ? base.global_batch_size / parts : base.global_batch_size * -parts;
    if (options.devices == 0) continue;
    try {
      const SearchResult result = search(plan, hardware, options);
      points.push_back({options.devices, plan.global_batch_size, result.ranked[0], 0});
    } catch (const Error&) {
      continue;
    }
  }
  for (ScalingPoint& point : points) point.efficiency = point.best.step.mfu / points[0].best.step.mfu;
  return points;
}

}  // namespace triax
