#include <fmt/format.h>
#include <hwy/targets.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include <memory>

#include "triax/base/parallel.h"
#include "triax/base/json.h"
#include "triax/base/system.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"
#include "triax/comm/mpi.h"
#include "triax/kernels/device_queue.h"
#include "triax/kernels/peak.h"
#include "triax/tensor/device.h"
#include "triax/train/console.h"

namespace triax::cli {
namespace {

struct Fact {
  std::string name, value;
};

std::string gpus() {
  const GpuList list = find_gpus();
  if (!list.gpus.empty()) {
    const Gpu& first = list.gpus.front();
    return fmt::format("{} x {}, {}, compute capability {}.{}", list.gpus.size(), first.name,
                       format_bytes(static_cast<double>(first.memory_bytes)), first.major, first.minor);
  }
  const std::vector<std::string> models = nvidia_gpus();
  if (models.empty()) return "none: " + list.reason;
  return fmt::format("{} x {}, not used: {}", models.size(), models.front(), list.reason);
}

std::string libraries() {
  const dnnl_version_t* onednn = dnnl_version();
  const int64_t targets = hwy::SupportedTargets();
  return fmt::format("oneDNN {}.{}.{}, Highway {} ({}), OpenMP {}", onednn->major, onednn->minor,
                     onednn->patch, TRIAX_HIGHWAY_VERSION, hwy::TargetName(targets & -targets),
                     _OPENMP);
}

std::vector<Fact> machine() {
  const CpuInfo cpu = cpu_info();
  std::string cores = fmt::format("{} for this process", available_cores());
  if (cpu.sockets > 1) cores += fmt::format(", {} sockets", cpu.sockets);
  return {
      {"triax", TRIAX_VERSION " (" TRIAX_BUILD ")"},
      {"operating system", operating_system()},
      {"cpu", cpu.model},
      {"cpu features", fmt::format("{}", fmt::join(cpu.features, " "))},
      {"cores", cores},
      {"threads", fmt::format("{}", num_threads())},
      {"memory", fmt::format("{}, {} free", format_bytes(static_cast<double>(memory_limit_bytes())),
                             format_bytes(static_cast<double>(memory_available_bytes())))},
      {"gpus", gpus()},
      {"mpi", mpi::library_version()},
      {"libraries", libraries()}};
}

std::vector<Fact> measurements() {
  const Context context;
  const GemmPeak peak = measure_gemm_peak(context);
  const double bandwidth = measure_memory_bandwidth(context);
  std::vector<Fact> facts = {{"fp32 matrix product", format_rate(peak.f32) + "FLOP/s"},
                             {"bf16 matrix product",
                              peak.bf16 > 0 ? format_rate(peak.bf16) + "FLOP/s" : "not in this CPU's hardware"},
                             {"memory bandwidth", format_rate(bandwidth) + "B/s"}};
  if (find_gpus().gpus.empty()) return facts;
  const std::unique_ptr<DeviceQueue> queue = make_queue({Device::Kind::cuda, 0});
  const GemmPeak of_gpu = measure_gemm_peak(queue->context());
  facts.push_back({"gpu fp32 product", format_rate(of_gpu.f32) + "FLOP/s"});
  facts.push_back({"gpu bf16 product", format_rate(of_gpu.bf16) + "FLOP/s"});
  facts.push_back({"gpu memory", format_rate(measure_memory_bandwidth(queue->context(), size_t{1} << 30)) + "B/s"});
  return facts;
}

struct InfoOptions {
  bool json = false, measure = true;
};

void show_info(const InfoOptions& options) {
  std::vector<Fact> facts = machine();
  const auto print = [](const std::vector<Fact>& list) {
    for (const Fact& fact : list) fmt::print("{:<20} {}\n", fact.name, fact.value);
    std::fflush(stdout);
  };
  if (!options.json) {
    print(facts);
    if (options.measure) print(measurements());
    return;
  }
  if (options.measure) {
    for (Fact& fact : measurements()) facts.push_back(std::move(fact));
  }
  Json object = Json::object();
  for (const Fact& fact : facts) object[fact.name] = fact.value;
  fmt::print("{}\n", object.dump(2));
}

}  // namespace

void add_info_command(Command app) {
  Command command = app.add_subcommand(
      "info", "Tell what triax finds on this machine, and measure how fast it is");
  auto options = std::make_shared<InfoOptions>();
  command.add_flag("--json", options->json, "as one JSON object");
  command.add_flag("!--no-measure", options->measure,
                    "leave out the measurements, which take about a second");
  command.footer("Example: triax info");
  command.callback([options] { show_info(*options); });
}

}  // namespace triax::cli
