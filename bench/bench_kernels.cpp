// Times every operation of the op harness on its training shapes, and says how close each is to
// what the machine can do, as measured in the same run.
//
//   bench_kernels [--threads N] [--filter TEXT] [--seconds S]
//
// An operation's floor is the larger of its arithmetic at the measured matrix-product peak (of its
// compute type) and its memory traffic at the measured bandwidth. `of floor` is floor / time: 100 %
// is as fast as can be. Operands are cold: each run takes another copy of them, of as many as
// exceed the caches together, except for matrix products, whose operands a training step has just
// written.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>

#include "kernels/harness.h"
#include "triax/base/parallel.h"
#include "triax/kernels/peak.h"

namespace {

using triax::harness::Case;
using triax::harness::Problem;
using triax::harness::Purpose;
using Clock = std::chrono::steady_clock;

struct Options {
  int threads = triax::available_cores();
  std::string filter;
  double seconds = 0.2;  // a case
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Seconds of the fastest run.
double time_of(const Case& entry, const Options& options) {
  constexpr double kBeyondCaches = 160e6;
  std::vector<std::unique_ptr<Problem>> copies;
  copies.push_back(entry.build());
  const bool cold = copies[0]->flops == 0;
  const double bytes = copies[0]->default_traffic();
  const auto count = static_cast<size_t>(cold ? std::ceil(kBeyondCaches / bytes) : 1);
  while (copies.size() < count) copies.push_back(entry.build());
  double best = INFINITY;
  const auto begin = Clock::now();
  for (size_t run = 0; run < 2 * count + 2 || seconds_since(begin) < options.seconds; ++run) {
    const auto start = Clock::now();
    copies[run % count]->run({});
    const double elapsed = seconds_since(start);
    if (run >= count) best = std::min(best, elapsed);
  }
  return best;
}

void print_case(const Case& entry, const triax::GemmPeak& peak, double bandwidth,
                const Options& options) {
  const double seconds = time_of(entry, options);
  const auto problem = entry.build();
  const bool bf16 = entry.variant.starts_with("bf16") && peak.bf16 > 0;
  const double traffic = problem->traffic > 0 ? problem->traffic : problem->default_traffic();
  const double arithmetic = problem->flops / (bf16 ? peak.bf16 : peak.f32);
  const double floor = std::max(arithmetic, problem->flops > 0 ? 0 : traffic / bandwidth);
  const std::string rate = problem->flops > 0
                               ? fmt::format("{:7.1f} GFLOP/s", problem->flops / seconds / 1e9)
                               : fmt::format("{:7.1f} GB/s   ", traffic / seconds / 1e9);
  fmt::print("{:<34} {:<44} {:9.1f} us {} {:5.0f} % of floor\n", entry.operation, entry.variant,
             seconds * 1e6, rate, 100 * floor / seconds);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Times the operations under kernels/ against the machine's measured ceilings.");
  app.add_option("--threads", options.threads, "OpenMP threads")->check(CLI::Range(1, 1024));
  app.add_option("--filter", options.filter, "only operations and variants that contain this");
  app.add_option("--seconds", options.seconds, "time for each case");
  CLI11_PARSE(app, argc, argv);
  triax::set_num_threads(options.threads);
  const triax::GemmPeak peak = triax::measure_gemm_peak({});
  const double bandwidth = triax::measure_memory_bandwidth({});
  fmt::print("{} threads: f32 {:.0f} GFLOP/s, bf16 {:.0f} GFLOP/s, memory {:.1f} GB/s\n",
             options.threads, peak.f32 / 1e9, peak.bf16 / 1e9, bandwidth / 1e9);
  for (const Case& entry : triax::harness::all_cases()) {
    const std::string name = entry.operation + " " + entry.variant;
    if (entry.purpose != Purpose::benchmark || name.find(options.filter) == std::string::npos)
      continue;
    print_case(entry, peak, bandwidth, options);
    std::fflush(stdout);
  }
}
