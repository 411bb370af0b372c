#include "triax/plan/calibrate.h"

#include <algorithm>

#include "triax/base/parallel.h"
#include "triax/base/rng.h"
#include "triax/base/system.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/linear.h"
#include "triax/kernels/peak.h"
#include "triax/plan/timing_rounds.h"

namespace triax {
namespace {

struct Product {
  int64_t m, n, k;
};
// Tokens by width by width, as the layers of small and medium models have them.
constexpr Product kProducts[] = {{256, 256, 256},   {1024, 384, 384},  {1024, 1536, 384},  {1024, 384, 1536},  {384, 1536, 1024},
                                 {2048, 768, 768},  {2048, 3072, 768}, {2048, 768, 3072},  {768, 3072, 2048},  {1024, 4096, 1024},
                                 {2048, 2048, 2048}, {64, 768, 768},   {4096, 1024, 1024}, {512, 8192, 512}};


// Numbers as activations and weights have them; on constants a processor may be faster.
Buffer random_numbers(int64_t count) {
  Buffer buffer(static_cast<size_t>(count) * sizeof(float));
  auto* values = static_cast<float*>(buffer.data());
  constexpr int64_t kPeriod = 1 << 16;
  for (int64_t i = 0; i < count; ++i) values[i] = i < kPeriod ? philox_normal(1, 1, static_cast<uint64_t>(i)) : values[i - kPeriod];
  return buffer;
}

void measure_products(World& world, double seconds, DeviceSpec& device) {
  const Context context;
  constexpr int64_t kLargest = int64_t{1} << 23;  // elements of any matrix of kProducts, at most
  const Buffer a = random_numbers(kLargest), b = random_numbers(kLargest), c(size_t{kLargest} * sizeof(float));
  TimingRounds rounds(world, static_cast<int>(std::size(kProducts)));
  while (rounds.next(seconds))
    for (size_t i = 0; i < std::size(kProducts); ++i) {
      const Product& p = kProducts[i];
      const Tensor x{a.data(), {p.m, p.k}, DType::f32}, w{b.data(), {p.n, p.k}, DType::f32}, y{c.data(), {p.m, p.n}, DType::f32};
      rounds.time(static_cast<int>(i), [&] { gemm(context, false, true, x, w, 0, y); });
    }
  for (size_t i = 0; i < std::size(kProducts); ++i) {
    const auto m = static_cast<double>(kProducts[i].m), n = static_cast<double>(kProducts[i].n), k = static_cast<double>(kProducts[i].k);
    device.gemm_m.push_back(m), device.gemm_n.push_back(n), device.gemm_k.push_back(k);
    device.gemm_flops.push_back(2 * m * n * k / rounds.middle(static_cast<int>(i)));
  }
  device.peak_flops = *std::max_element(device.gemm_flops.begin(), device.gemm_flops.end());
}

// From one kernel to the next: of a product that is next to nothing.
double measure_kernel_latency(World& world) {
  constexpr int64_t kSize = 16, kMany = 100;
  const Context context;
  const Buffer numbers = random_numbers(kSize * kSize), result(kSize * kSize * sizeof(float));
  const Tensor x{numbers.data(), {kSize, kSize}, DType::f32}, y{result.data(), {kSize, kSize}, DType::f32};
  TimingRounds rounds(world, 1);
  while (rounds.next(0.05))
    rounds.time(0, [&] { for (int64_t i = 0; i < kMany; ++i) gemm(context, false, true, x, x, 0, y); });
  return rounds.middle(0) / kMany;
}

// Latency from a small all-reduce, bandwidth from a large one.
void measure_group(World& world, Communicator& group, double seconds, double& latency, double& bandwidth) {
  constexpr int64_t kSmall = 256, kLarge = 4 << 20;  // floats
  constexpr int kMany = 20;                          // small ones timed together
  std::vector<float> values(static_cast<size_t>(kLarge), 1.0f);
  const auto reduce = [&](int64_t count) { group.all_reduce({values.data(), {count}, DType::f32}, ReduceOp::max); };
  TimingRounds rounds(world, 2);
  while (rounds.next(seconds)) {
    rounds.time_on_some(0, true, [&] { for (int i = 0; i < kMany; ++i) reduce(kSmall); });
    rounds.time_on_some(1, true, [&] { reduce(kLarge); });
  }
  const double small = rounds.middle(0) / kMany, large = rounds.middle(1);
  const double n = group.size();
  latency = small / 2;
  bandwidth = 2.0 * 4.0 * static_cast<double>(kLarge) * (n - 1) / n / std::max(large - small, 1e-9);
}

void measure_communication(World& world, double seconds, Hardware& hardware) {
  const int local = world.local_size(), hosts = world.size() / local;
  hardware.node.devices = local;
  hardware.network.nodes = hosts;
  const std::unique_ptr<Communicator> host = world.split("host", world.rank() / local, world.rank());
  if (local > 1) measure_group(world, *host, seconds, hardware.node.link_latency, hardware.node.link_bandwidth);
  if (hosts == 1) return;
  // One rank of each host: the network's adapters taken as one.
  const std::unique_ptr<Communicator> across = world.split("hosts", world.rank() % local, world.rank());
  double bandwidth = 0;
  measure_group(world, *across, seconds, hardware.network.latency, bandwidth);
  hardware.network.adapters = 1;
  hardware.network.efficiency = 1;
  hardware.network.adapter_bandwidth = bandwidth * local;
}

}  // namespace

Hardware calibrate(World& world, double seconds) {
  Hardware hardware;
  DeviceSpec& device = hardware.device;
  const int ranks = world.local_size();
  device.name = fmt::format("{}, {} thread{} a rank", cpu_info().model, num_threads(), num_threads() == 1 ? "" : "s");
  device.kind = "cpu";
  measure_gemm_peak({}, 0.1);  // as the trainer begins: libraries fill what memory they keep for themselves
  device.reserved_bytes = static_cast<double>(resident_bytes());
  device.memory_bytes = static_cast<double>(memory_limit_bytes()) / ranks;
  device.compute_units = 0;
  device.fragmentation = 0;
  device.kernel_latency = measure_kernel_latency(world);
  measure_products(world, seconds, device);
  double slowest = measure_memory_bandwidth({}, size_t{64} << 20, seconds / 10);
  world.communicator().all_reduce({&slowest, {1}, DType::f64}, ReduceOp::min);
  device.memory_bandwidth = slowest;
  device.bandwidth_efficiency = 1;
  hardware.node = {.devices = 1, .link_bandwidth = 5e9, .link_latency = 5e-6, .watts = 0};
  hardware.network = {.nodes = 1, .adapters = 1, .adapter_bandwidth = 1.25e9, .efficiency = 1, .latency = 3e-5, .oversubscription = 1};
  if (world.size() > 1) measure_communication(world, seconds / 5, hardware);
  hardware.storage = {.read_bandwidth = 1e9, .write_bandwidth = 5e8};
  hardware.software.name = "triax";
  hardware.software.overlap_tensor = false;  // exchanges take the cores that the products need
  return hardware;
}

}  // namespace triax
