#include "triax/kernel_cases/timing.h"

#include <time.h>

#include <array>
#include <cmath>

#include "triax/base/parallel.h"
#include "triax/kernels/elementwise.h"

namespace triax::harness {
namespace {

constexpr double kBeyondCaches = 160e6;  // bytes
constexpr size_t kCalls = 20;            // in a run on a device

// One thread on a CPU: its own time, which other programs do not add to.
double now() {
  timespec time{};
  clock_gettime(!target().queue && num_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Of the fastest of at least `least` runs; those before `first` are left out. run(i) is one.
template <typename Run>
double fastest(size_t first, size_t least, const TimingOptions& options, const Run& run) {
  double best = INFINITY;
  const double begin = now();
  for (size_t i = 0; i < least || now() - begin < options.seconds; ++i) {
    const double start = now();
    run(i);
    if (i >= first) best = std::min(best, now() - start);
  }
  return best;
}

double seconds_of(const Case& entry, const TimingOptions& options) {
  std::vector<std::unique_ptr<Problem>> copies;
  copies.push_back(entry.build());
  const bool cold = copies[0]->flops == 0;
  const auto count = static_cast<size_t>(cold ? std::ceil(kBeyondCaches / copies[0]->default_traffic()) : 1);
  while (copies.size() < count) copies.push_back(entry.build());
  wait();
  if (!target().queue) return fastest(count, 2 * count + 2, options, [&](size_t i) { copies[i % count]->run({}); });
  return fastest(1, 3, options, [&](size_t) {
    for (size_t call = 0; call < kCalls; ++call) copies[call % count]->run(target());
    wait();
  }) / kCalls;
}

double gemm_rate(DType dtype, const TimingOptions& options) {
  using Shapes = std::vector<std::array<int64_t, 3>>;
  const Shapes shapes = target().device.kind == Device::Kind::cuda ? Shapes{{8192, 8192, 8192}, {16384, 4096, 4096}}
                                                                   : Shapes{{1024, 1024, 1024}, {2048, 768, 768}};
  double best = 0;
  for (const auto& [m, n, k] : shapes) {
    const double flops = 2.0 * static_cast<double>(m * n * k);
    const Case product{"", "", Purpose::benchmark, [=, m = m, n = n, k = k] {
                         auto p = std::make_unique<Problem>(1);
                         const Tensor a = p->input("a", {m, k}, dtype), b = p->input("b", {k, n}, dtype);
                         const Tensor c = p->output("c", {m, n}, dtype);
                         p->run = [=](const Context& context) { gemm(context, false, false, a, b, 0, c); };
                         p->flops = flops;
                         return p;
                       }};
    best = std::max(best, flops / seconds_of(product, options));
  }
  return best;
}

}  // namespace

bool is_timed(const Case& entry) {
  return entry.purpose == (target().device.kind == Device::Kind::cuda ? Purpose::gpu_benchmark : Purpose::benchmark);
}

Ceilings measure_ceilings(const TimingOptions& options) {
  const Shape shape{int64_t{target().device.kind == Device::Kind::cuda ? 64 : 16} << 20};
  const Case update{"", "", Purpose::benchmark, [=] {
                      auto p = std::make_unique<Problem>(1);
                      const Tensor x = p->input("x", shape, DType::f32), y = p->in_out("y", shape, DType::f32);
                      p->run = [=](const Context& context) { add_scaled(context, 0.5f, x, y); };
                      return p;
                    }};
  return {gemm_rate(DType::f32, options), gemm_rate(DType::bf16, options),
          update.build()->default_traffic() / seconds_of(update, options)};
}

Timing time_case(const Case& entry, const Ceilings& ceilings, const TimingOptions& options) {
  const auto problem = entry.build();
  const double traffic = problem->traffic > 0 ? problem->traffic : problem->default_traffic();
  const bool computes = problem->flops > 0;
  // f16 products are those of bf16 on GPUs, and f32 ones on CPUs; what FP8 gains is seen beside bf16's.
  const bool half = entry.variant.starts_with("bf16") || entry.variant.starts_with("fp8") || (target().queue && entry.variant.starts_with("f16"));
  Timing timing{.seconds = seconds_of(entry, options), .computes = computes};
  timing.rate = (computes ? problem->flops : traffic) / timing.seconds;
  timing.of_ceiling = timing.rate / (!computes ? ceilings.bandwidth : half ? ceilings.bf16 : ceilings.f32);
  return timing;
}

}  // namespace triax::harness
