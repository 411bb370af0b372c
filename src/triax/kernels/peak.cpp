#include "triax/kernels/peak.h"

#include <algorithm>
#include <chrono>

#include "triax/base/error.h"
#include "triax/kernels/device_queue.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/linear.h"

namespace triax {
namespace {

// Seconds of the fastest of several runs, which last about `seconds` together (but at least two).
template <typename Body>
double fastest(const Context& context, double seconds, const Body& body) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  double best = 1e30;
  for (int run = 0;; ++run) {
    const auto start = Clock::now();
    body();
    if (context.queue) context.queue->synchronize();
    const auto end = Clock::now();
    // The first run pays for page faults and for the library's code generation.
    if (run > 0) best = std::min(best, std::chrono::duration<double>(end - start).count());
    if (run >= 2 && std::chrono::duration<double>(end - begin).count() >= seconds) return best;
  }
}

double gemm_rate(const Context& context, DType dtype, int64_t m, int64_t n, int64_t k,
                 double seconds) {
  const OwnedTensor a({m, k}, dtype, context.device), b({n, k}, dtype, context.device),
      c({m, n}, dtype, context.device);
  fill(context, a, 0.5f);
  fill(context, b, 0.25f);
  const double best = fastest(context, seconds, [&] { gemm(context, false, true, a, b, 0.0f, c); });
  return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) / best;
}

}  // namespace

GemmPeak measure_gemm_peak(const Context& context, double seconds) {
  constexpr int64_t kShapes[][3] = {{1024, 1024, 1024}, {2048, 768, 768}, {1536, 1536, 384}};
  constexpr int64_t kGpuShapes[][3] = {{8192, 8192, 8192}, {16384, 4096, 4096}, {8192, 4096, 16384}};
  GemmPeak peak;
  for (const auto& [m, n, k] : context.queue ? kGpuShapes : kShapes) {
    peak.f32 = std::max(peak.f32, gemm_rate(context, DType::f32, m, n, k, seconds / 6));
    peak.bf16 = std::max(peak.bf16, gemm_rate(context, DType::bf16, m, n, k, seconds / 6));
  }
  return peak;
}

double measure_memory_bandwidth(const Context& context, size_t bytes, double seconds) {
  const auto count = static_cast<int64_t>(std::max<size_t>(bytes / (2 * sizeof(float)), 1024));
  const OwnedTensor x({count}, DType::f32, context.device), y({count}, DType::f32, context.device);
  fill(context, x, 1.0f);
  fill(context, y, 1.0f);
  const double best = fastest(context, seconds, [&] { add_scaled(context, 0.5f, x, y); });
  return 3.0 * sizeof(float) * static_cast<double>(count) / best;
}

}  // namespace triax
