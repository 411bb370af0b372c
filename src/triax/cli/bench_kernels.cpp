#include <fmt/core.h>

#include <cstdio>
#include <memory>

#include "triax/base/error.h"
#include "triax/base/parallel.h"
#include "triax/cli/bench_commands.h"
#include "triax/kernel_cases/timing.h"
#include "triax/kernels/device_queue.h"
#include "triax/tensor/device.h"

namespace triax::cli {
namespace {

struct KernelBenchOptions {
  int threads = available_cores();
  std::string filter;
  harness::TimingOptions timing;
  Device::Kind device = Device::Kind::cpu;
};

// Undone at the end, whatever happens.
class Target {
 public:
  explicit Target(std::unique_ptr<DeviceQueue> queue) : queue_(std::move(queue)) {
    if (queue_) harness::set_target(queue_->context());
  }
  ~Target() { harness::set_target({}); }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

 private:
  std::unique_ptr<DeviceQueue> queue_;
};

void bench_kernels(const KernelBenchOptions& options) {
  set_num_threads(options.threads);
  const Target target(make_queue({options.device, 0}, "--device cuda", "--device cpu"));
  std::vector<harness::Case> chosen;
  for (harness::Case& entry : harness::all_cases())
    if (is_timed(entry) && (entry.operation + " " + entry.variant).find(options.filter) != std::string::npos)
      chosen.push_back(std::move(entry));
  check(!chosen.empty(), "--filter \"{}\": no operation and variant contains this; without --filter all are listed", options.filter);
  const harness::Ceilings ceilings = measure_ceilings(options.timing);
  const std::string where = options.device == Device::Kind::cuda ? find_gpus().gpus.at(0).name : fmt::format("{} threads", options.threads);
  fmt::print("{}, measured just now: f32 products {:.0f} GFLOP/s, bf16 products {:.0f} GFLOP/s, memory {:.1f} GB/s\n\n", where,
             ceilings.f32 / 1e9, ceilings.bf16 / 1e9, ceilings.bandwidth / 1e9);
  fmt::print("{:<34} {:>12} {:>18} {:>11}   {}\n", "operation", "time", "rate", "of ceiling", "variant");
  for (const harness::Case& entry : chosen) {
    const harness::Timing timing = time_case(entry, ceilings, options.timing);
    fmt::print("{:<34} {:>9.1f} us {:>10.1f} {:<7} {:>9.0f} %   {}\n", entry.operation, timing.seconds * 1e6, timing.rate / 1e9,
               timing.computes ? "GFLOP/s" : "GB/s", 100 * timing.of_ceiling, entry.variant);
    std::fflush(stdout);
  }
}

}  // namespace

void add_bench_kernels_command(Command bench) {
  auto options = std::make_shared<KernelBenchOptions>();
  Command command = bench.add_subcommand(
      "kernels", "Time every operation on training shapes, as a share of the peak and bandwidth measured in the same run");
  command.add_choice("--device", options->device, {{"cpu", Device::Kind::cpu}, {"cuda", Device::Kind::cuda}}, "where to compute");
  command.add_option("--threads", options->threads, "of the CPU").between(1, 1024).show_default();
  command.add_option("--filter", options->filter, "only what contains this: \"attention\", \"layernorm_backward bf16\"").type_name("TEXT");
  command.add_option("--seconds", options->timing.seconds, "for each case, at least").non_negative().show_default();
  command.footer("Products are measured against the fastest matrix product (in FP8, of bf16), all else against the bandwidth of y += a x.\n"
                 "Above 100 % the operands stayed in a cache.\n\n"
                 "Examples:\n"
                 "  triax bench kernels --filter layernorm\n"
                 "  triax bench kernels --device cuda");
  command.callback([options] { bench_kernels(*options); });
}

}  // namespace triax::cli
