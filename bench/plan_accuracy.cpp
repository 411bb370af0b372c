// The planner beside the publications, row by row: the table of docs/planning.md. With --fit, searches the three fitted
// constants of the A100 on the rows marked with *.
#include <fmt/core.h>

#include <cmath>
#include <cstring>

#include "plan/published_runs.h"

namespace {

using namespace triax;

double error_of(const PublishedRun& run, Hardware hardware) {
  hardware.software = run.software;
  return predict_step(run.plan, hardware, Detail::fast).seconds / run.seconds - 1;
}

double misfit(const std::vector<PublishedRun>& runs, const Hardware& hardware) {
  double sum = 0;
  for (const PublishedRun& run : runs)
    if (run.fitted) sum += std::pow(error_of(run, hardware), 2);
  return sum;
}

// Coordinate descent with shrinking steps.
void fit(const std::vector<PublishedRun>& runs, Hardware& hardware) {
  double* constants[] = {&hardware.device.gemm_efficiency, &hardware.device.gemm_half_k, &hardware.device.bandwidth_efficiency};
  double best = misfit(runs, hardware);
  for (double step = 0.1; step > 0.004;) {
    bool better = false;
    for (double* constant : constants)
      for (const double factor : {1 + step, 1 / (1 + step)}) {
        const double before = *constant;
        *constant = std::min(*constant * factor, constant == constants[1] ? 1e9 : 0.95);
        const double now = misfit(runs, hardware);
        if (now < best - 1e-12) best = now, better = true;
        else *constant = before;
      }
    if (!better) step /= 2;
  }
  fmt::print("gemm_efficiency = {:.3f}\ngemm_half_k = {:.0f}\nbandwidth_efficiency = {:.3f}\n\n", *constants[0], *constants[1], *constants[2]);
}

void print(const std::vector<PublishedRun>& runs, const Hardware& hardware) {
  double sum = 0, worst = 0;
  fmt::print("| run | grid | published s | predicted s | error |\n| --- | --- | ---: | ---: | ---: |\n");
  for (const PublishedRun& run : runs) {
    const double error = error_of(run, hardware);
    sum += std::fabs(error), worst = std::max(worst, std::fabs(error));
    fmt::print("| {}{} | {} | {:.2f} | {:.2f} | {:+.1f} % |\n", run.name, run.fitted ? " *" : "", describe(run.plan), run.seconds,
               run.seconds * (1 + error), 100 * error);
  }
  fmt::print("\nmean absolute error {:.1f} %, worst {:.1f} %\n\n", 100 * sum / static_cast<double>(runs.size()), 100 * worst);
}

}  // namespace

int main(int argc, char** argv) {
  Hardware hardware = load_hardware("selene");
  const std::vector<PublishedRun> runs = published_runs();
  if (argc > 1 && std::strcmp(argv[1], "--fit") == 0) fit(runs, hardware);
  print(runs, hardware);
  print(mt_nlg_runs(), hardware);
  print(zero3_runs(), hardware);
}
