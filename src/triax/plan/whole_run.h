// From one step to the whole run: days, device-hours, energy, money, checkpoints, failures; and other cluster sizes.
#pragma once

#include <vector>

#include "triax/plan/search.h"

namespace triax {

struct RunForecast {
  double steps = 0, tokens = 0;
  double seconds = 0;              // of training alone
  double device_hours = 0;         // with failures and checkpoints, as all below
  double days = 0;
  double energy_kwh = 0, money = 0;
  double checkpoint_bytes = 0, save_seconds = 0, load_seconds = 0;
  double job_mtbf_hours = 0;       // between failures of any host of the job
  double failures = 0;             // expected in the run
  double save_interval = 0;        // seconds; the best one (Young 1974)
  double goodput = 1;              // share of the time that trains
};

// `tokens`: of the run. A checkpoint holds weights, their fp32 copy and Adam's moments; saving stops the training.
RunForecast forecast(const StepPlan& plan, const StepPrediction& step, const Hardware& hardware, double tokens);

struct ScalingPoint {
  int64_t devices = 0, global_batch_size = 0;
  Candidate best;
  double efficiency = 0;  // FLOP/s per device beside that of the first point
};
// The best grid at several numbers of devices. Strong scaling: the batch stays; weak scaling: it grows with the
// devices. Sizes without a grid are left out.
std::vector<ScalingPoint> scaling(const StepPlan& base, const Hardware& hardware, SearchOptions options, bool weak);

}  // namespace triax
