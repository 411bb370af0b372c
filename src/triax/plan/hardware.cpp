#include "triax/plan/hardware.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "triax/base/error.h"
#include "triax/base/text.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

struct Tile {
  double rows, columns, speed;  // speed of a full tile beside the largest one's
};
// What cuBLAS chooses from; smaller tiles reuse less of what they load.
constexpr std::array<Tile, 4> kTiles = {{{256, 128, 1.0}, {128, 256, 1.0}, {128, 128, 0.92}, {64, 64, 0.65}}};

double tiled_seconds(const DeviceSpec& device, double m, double n, double k, double count) {
  const auto units = static_cast<double>(device.compute_units);
  const double unit_flops = device.peak_flops * device.gemm_efficiency / units;
  double best = std::numeric_limits<double>::infinity();
  for (const Tile& tile : kTiles) {
    const double tiles = std::ceil(m / tile.rows) * std::ceil(n / tile.columns) * count;
    const double waves = std::ceil(tiles / units);
    best = std::min(best, waves * 2 * tile.rows * tile.columns * (k + device.gemm_half_k) / (unit_flops * tile.speed));
  }
  return best;
}

// The measured rate of the nearest shapes, near in the logarithm of each size, weighted by nearness.
double measured_flops(const DeviceSpec& device, double m, double n, double k) {
  double sum = 0, weights = 0;
  for (size_t i = 0; i < device.gemm_flops.size(); ++i) {
    const double dm = std::log(m / device.gemm_m[i]), dn = std::log(n / device.gemm_n[i]), dk = std::log(k / device.gemm_k[i]);
    const double distance = dm * dm + dn * dn + dk * dk;
    const double weight = 1 / (1e-6 + distance * distance);
    sum += weight * device.gemm_flops[i];
    weights += weight;
  }
  return sum / weights;
}

double adapter_share(const Hardware& hardware, int64_t senders) {
  const NetworkSpec& net = hardware.network;
  const double host = static_cast<double>(net.adapters) * net.adapter_bandwidth * net.efficiency / net.oversubscription;
  return std::min(host / static_cast<double>(std::max<int64_t>(1, senders)),
                  static_cast<double>(net.adapters) * net.adapter_bandwidth * net.efficiency);
}

fs::path find_hardware(const std::string& name) {
  if (fs::exists(name)) return name;
  for (const fs::path& folder : {fs::path("configs/hardware"), fs::path(TRIAX_HARDWARE_SOURCE), fs::path(TRIAX_HARDWARE_INSTALLED)})
    if (fs::exists(folder / (name + ".toml"))) return folder / (name + ".toml");
  fail("hardware {} is neither a file nor a name in configs/hardware; there are selene, dgx-2h, dgx-h100, dgx-h200 and cpu, "
       "and `triax plan calibrate` writes one for this machine", name);
}

}  // namespace

Hardware load_hardware(const std::string& name, const std::vector<std::string>& settings) {
  Hardware hardware;
  ConfigFields fields(hardware);
  fields.load_file(find_hardware(name));
  for (const std::string& setting : settings) fields.set(setting);
  validate(hardware);
  return hardware;
}

void validate(const Hardware& hardware) {
  const DeviceSpec& d = hardware.device;
  check(d.gemm_m.size() == d.gemm_flops.size() && d.gemm_n.size() == d.gemm_flops.size() && d.gemm_k.size() == d.gemm_flops.size(),
        "device.gemm_m, gemm_n, gemm_k and gemm_flops have {}, {}, {} and {} numbers; they are columns of one table",
        d.gemm_m.size(), d.gemm_n.size(), d.gemm_k.size(), d.gemm_flops.size());
  const ProfileSpec& f = hardware.profile;
  for (const std::vector<double>* column : {&f.layer_forward, &f.layer_backward, &f.layer_backward_weight, &f.layer_recompute, &f.head_forward,
                                            &f.head_backward, &f.embedding, &f.exchange})
    check(column->size() == f.tensor_parallel.size(), "the lists of [profile] must be as long as profile.tensor_parallel, {} numbers, not {}",
          f.tensor_parallel.size(), column->size());
  check(d.reserved_bytes < d.memory_bytes, "device.reserved_bytes = {} leaves nothing of device.memory_bytes = {}",
        d.reserved_bytes, d.memory_bytes);
}

double gemm_seconds(const DeviceSpec& device, double m, double n, double k, double count) {
  const double flops = 2 * m * n * k * count;
  if (!device.gemm_flops.empty()) return flops / measured_flops(device, m, n, k);
  const double bytes = 2 * (m * k + k * n + m * n) * count;
  const double compute = device.compute_units > 0
                             ? tiled_seconds(device, m, n, k, count)
                             : flops * (1 + device.gemm_half_k / k) / (device.peak_flops * device.gemm_efficiency);
  return std::max(compute, bytes / (device.memory_bandwidth * device.bandwidth_efficiency)) + device.kernel_latency;
}

double memory_seconds(const DeviceSpec& device, double bytes, double kernels) {
  return bytes / (device.memory_bandwidth * device.bandwidth_efficiency) + kernels * device.kernel_latency;
}

double gather_seconds(const Hardware& hardware, const GroupPlace& place, double bytes) {
  if (place.size <= 1) return 0;
  const auto size = static_cast<double>(place.size), in_node = static_cast<double>(place.in_node);
  const double nodes = size / in_node;
  // In a ring every member passes on all but its own part. Inside a host that goes over the links; between hosts each
  // group enters and leaves a host once, over its share of the adapters, however many members it has there.
  const double moved = bytes * (size - 1) / size;
  double seconds = 0;
  if (in_node > 1) seconds = moved / hardware.node.link_bandwidth;
  if (nodes > 1) seconds = std::max(seconds, moved / adapter_share(hardware, place.groups_in_node));
  return seconds + (nodes > 1 ? nodes * hardware.network.latency : 0) + (in_node > 1 ? hardware.node.link_latency : 0);
}

double all_reduce_seconds(const Hardware& hardware, const GroupPlace& place, double bytes) {
  return 2 * gather_seconds(hardware, place, bytes);
}

double message_seconds(const Hardware& hardware, double bytes, bool same_node, int64_t senders) {
  if (same_node) return bytes / hardware.node.link_bandwidth + hardware.node.link_latency;
  const NetworkSpec& net = hardware.network;
  // One device's message leaves by one adapter.
  const double bandwidth = std::min(adapter_share(hardware, senders), net.adapter_bandwidth * net.efficiency);
  return bytes / bandwidth + net.latency;
}

}  // namespace triax
