#include "triax/comm/communication_volume.h"

#include <fmt/format.h>

#include "triax/base/error.h"
#include "triax/base/text.h"

namespace triax {
namespace {

// (n - 1) / n
double others(int ranks) { return static_cast<double>(ranks - 1) / ranks; }

// That a rank sends in a step, and as many receives: every chunk sends both ways, but the first stage of all
// has none before it and the last none after.
int messages(const PipelineTraffic& traffic) {
  if (traffic.pipeline_parallel == 1) return 0;
  const bool end = traffic.rank == 0 || traffic.rank == traffic.pipeline_parallel - 1;
  return traffic.micro_batches * (2 * traffic.virtual_pipeline - (end ? 1 : 0));
}

}  // namespace

std::string_view name_of(CommunicationKind kind) {
  constexpr std::array<std::string_view, kCommunicationKinds> names = {"all_reduce", "reduce_scatter", "all_gather",
                                                                       "broadcast",  "send",           "receive"};
  return names[static_cast<size_t>(kind)];
}

double ring_share(CommunicationKind kind, int ranks) {
  switch (kind) {
    case CommunicationKind::all_reduce: return 2 * others(ranks);
    case CommunicationKind::reduce_scatter:
    case CommunicationKind::all_gather:
    case CommunicationKind::broadcast: return others(ranks);
    default: return 1;
  }
}

int64_t CommunicationVolume::calls() const {
  int64_t sum = 0;
  for (const Count& count : counts) sum += count.calls;
  return sum;
}

double CommunicationVolume::bytes_sent() const {
  double sum = 0;
  for (int i = 0; i < kCommunicationKinds; ++i) {
    const auto kind = static_cast<CommunicationKind>(i);
    if (kind != CommunicationKind::receive) sum += ring_share(kind, ranks) * static_cast<double>(of(kind).bytes);
  }
  return sum;
}

double tensor_layer_volume(const ActivationSize& size, int tensor_parallel, int layers) {
  return 8 * size.elements() * others(tensor_parallel) * layers;
}

double sequence_regather_volume(const ActivationSize& size, int tensor_parallel, int layers) {
  return 2 * size.elements() * others(tensor_parallel) * layers;
}

double tensor_recompute_volume(const ActivationSize& size, int tensor_parallel, int layers) {
  return tensor_layer_volume(size, tensor_parallel, layers) / 2;
}

double embedding_volume(const ActivationSize& size, int tensor_parallel) {
  return 2 * size.elements() * others(tensor_parallel);
}

double head_volume(const ActivationSize& size, int tensor_parallel) { return embedding_volume(size, tensor_parallel); }

double cross_entropy_volume(const ActivationSize& size, int tensor_parallel) {
  return 3 * 2 * size.tokens() * others(tensor_parallel);
}

double pipeline_volume(const ActivationSize& size, const PipelineTraffic& traffic) {
  return messages(traffic) * size.elements() / (traffic.scatter_gather ? traffic.tensor_parallel : 1);
}

double scatter_gather_volume(const ActivationSize& size, const PipelineTraffic& traffic) {
  return traffic.scatter_gather ? messages(traffic) * size.elements() * others(traffic.tensor_parallel) : 0;
}

double tied_gradient_volume(double parameters) { return 2 * parameters * others(2); }

DataParallelVolume data_parallel_volume(double parameters, int data_parallel, int zero_stage, int passes) {
  check(zero_stage >= 0 && zero_stage <= 3, "there is no ZeRO stage {}", zero_stage);
  const double once = parameters * others(data_parallel);
  switch (zero_stage) {
    case 0: return {2 * once, 0};
    case 1: return {once, once};
    case 2: return {passes * once, once};
    default: return {passes * once, 2 * passes * once};
  }
}

std::string difference_text(double bytes, double formula_bytes) {
  if (!(formula_bytes > 0)) return "–";
  return fmt::format("{:+.2f} %", 100 * (bytes - formula_bytes) / formula_bytes);
}

std::string volume_table(std::span<const VolumeRow> rows) {
  std::string table = fmt::format("{:<12}{:>8}{:>14}{:>14}{:>12}\n", "group", "calls", "sent", "formula", "difference");
  for (const VolumeRow& row : rows)
    table += fmt::format("{:<12}{:>8}{:>14}{:>14}{:>12}\n", row.group, row.calls, format_bytes(row.bytes),
                         row.formula_bytes > 0 ? format_bytes(row.formula_bytes) : "–",
                         difference_text(row.bytes, row.formula_bytes));
  return table;
}

}  // namespace triax
