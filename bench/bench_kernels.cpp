// Times every operation of the op harness on its training shapes, and says how close each is to
// what the machine can do, as measured in the same run.
//
//   bench_kernels [--threads N] [--filter TEXT] [--seconds S] [--device cpu|cuda]
//
// The floor of an operation made of products is its arithmetic at the measured peak of its compute
// type; that of any other its memory traffic at the measured bandwidth of y += a x. `of floor` is
// floor / time: 100 % is as fast as can be. Operands are cold: each run takes another copy of them,
// of as many as exceed the caches together, except for matrix products, whose operands a training
// step has just written. On a GPU a run is a row of calls that are queued and waited for together.
#include <fmt/core.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cmath>
#include <vector>

#include "kernels/harness.h"
#include "triax/base/parallel.h"
#include "triax/kernels/device_queue.h"
#include "triax/kernels/elementwise.h"
#include "triax/tensor/device.h"

namespace {

using triax::harness::Case;
using triax::harness::Problem;
using triax::harness::Purpose;

struct Options {
  int threads = triax::available_cores();
  std::string filter;
  double seconds = 0.2;  // a case
  std::string device = "cpu";
  bool on_gpu() const { return device == "cuda"; }
};

double now(int threads) {
  timespec time{};
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
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
  const double begin = now(options.threads);
  if (options.on_gpu()) {
    constexpr size_t kCalls = 20;
    for (size_t run = 0; run < 3 || now(0) - begin < options.seconds; ++run) {
      triax::harness::wait();
      const double start = now(0);
      for (size_t call = 0; call < kCalls; ++call) copies[call % count]->run(triax::harness::target());
      triax::harness::wait();
      if (run > 0) best = std::min(best, (now(0) - start) / kCalls);  // the first one moved the operands there
    }
    return best;
  }
  for (size_t run = 0; run < 2 * count + 2 || now(options.threads) - begin < options.seconds;
       ++run) {
    const double start = now(options.threads);
    copies[run % count]->run({});
    const double elapsed = now(options.threads) - start;
    if (run >= count) best = std::min(best, elapsed);
  }
  return best;
}

// What the machine can do at best, by the same clock as the operations.
struct Ceilings {
  double f32 = 0, bf16 = 0, bandwidth = 0;  // FLOP/s and bytes/s
};

double gemm_rate(triax::DType dtype, const Options& options) {
  double best = 0;
  using Shapes = std::vector<std::array<int64_t, 3>>;
  for (const auto& [m, n, k] : options.on_gpu() ? Shapes{{8192, 8192, 8192}, {16384, 4096, 4096}}
                                                : Shapes{{1024, 1024, 1024}, {2048, 768, 768}}) {
    const Case product{
        "", "", Purpose::benchmark, [=, m = m, n = n, k = k] {
          auto p = std::make_unique<Problem>(1);
          const auto a = p->input("a", {m, k}, dtype), b = p->input("b", {k, n}, dtype);
          const auto c = p->output("c", {m, n}, dtype);
          p->run = [=](const triax::Context& context) {
            triax::gemm(context, false, false, a, b, 0, c);
          };
          p->flops = 2.0 * static_cast<double>(m * n * k);
          return p;
        }};
    best = std::max(best, product.build()->flops / time_of(product, options));
  }
  return best;
}

Ceilings measure(const Options& options) {
  const Case update{"", "", Purpose::benchmark, [&] {
                      auto p = std::make_unique<Problem>(1);
                      const triax::Shape shape{int64_t{options.on_gpu() ? 64 : 16} << 20};
                      const auto x = p->input("x", shape, triax::DType::f32);
                      const auto y = p->in_out("y", shape, triax::DType::f32);
                      p->run = [=](const triax::Context& context) {
                        triax::add_scaled(context, 0.5f, x, y);
                      };
                      return p;
                    }};
  return {gemm_rate(triax::DType::f32, options), gemm_rate(triax::DType::bf16, options),
          update.build()->default_traffic() / time_of(update, options)};
}

void print_case(const Case& entry, const Ceilings& ceilings, const Options& options) {
  const double seconds = time_of(entry, options);
  const auto problem = entry.build();
  const double traffic = problem->traffic > 0 ? problem->traffic : problem->default_traffic();
  const bool computes = problem->flops > 0;
  const double peak = entry.variant.starts_with("bf16") ? ceilings.bf16 : ceilings.f32;
  const double floor = computes ? problem->flops / peak : traffic / ceilings.bandwidth;
  fmt::print("{:<34} {:<44} {:9.1f} us {:7.1f} {} {:4.0f} % of floor\n", entry.operation,
             entry.variant, seconds * 1e6, (computes ? problem->flops : traffic) / seconds / 1e9,
             computes ? "GFLOP/s" : "GB/s   ", 100 * floor / seconds);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Times the operations under kernels/ against the machine's measured ceilings.");
  app.add_option("--threads", options.threads, "OpenMP threads")->check(CLI::Range(1, 1024));
  app.add_option("--filter", options.filter, "only operations and variants that contain this");
  app.add_option("--seconds", options.seconds, "time for each case");
  app.add_option("--device", options.device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}));
  CLI11_PARSE(app, argc, argv);
  triax::set_num_threads(options.threads);
  std::unique_ptr<triax::DeviceQueue> queue;
  if (options.on_gpu()) {
    queue = triax::make_queue({triax::Device::Kind::cuda, 0});
    triax::harness::set_target(queue->context());
    fmt::print("{}\n", triax::find_gpus().gpus.at(0).name);
  }
  const Ceilings ceilings = measure(options);
  fmt::print("{} threads: f32 {:.0f} GFLOP/s, bf16 {:.0f} GFLOP/s, memory {:.1f} GB/s\n",
             options.threads, ceilings.f32 / 1e9, ceilings.bf16 / 1e9, ceilings.bandwidth / 1e9);
  for (const Case& entry : triax::harness::all_cases()) {
    const std::string name = entry.operation + " " + entry.variant;
    if (entry.purpose != (options.on_gpu() ? Purpose::gpu_benchmark : Purpose::benchmark) || name.find(options.filter) == std::string::npos)
      continue;
    print_case(entry, ceilings, options);
  }
}
