// How much one rank communicates: counted (metered_communicator.h), and by the published formulas.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace triax {

enum class CommunicationKind : uint8_t { all_reduce, reduce_scatter, all_gather, broadcast, send, receive };
inline constexpr int kCommunicationKinds = 6;
std::string_view name_of(CommunicationKind kind);

// The share of its whole tensor that each rank of n sends in a ring: 2 (n - 1) / n for an all-reduce,
// (n - 1) / n for reduce-scatter, all-gather and, on the average of ranks, broadcast. 1 for messages.
double ring_share(CommunicationKind kind, int ranks);

// Of one rank in one group, over some time.
struct CommunicationVolume {
  struct Count {
    int64_t calls = 0;
    int64_t bytes = 0;  // of the tensors: the whole one that a collective makes or starts from
    bool operator==(const Count&) const = default;
  };
  int ranks = 1;  // in the group
  std::array<Count, kCommunicationKinds> counts{};

  const Count& of(CommunicationKind kind) const { return counts[static_cast<size_t>(kind)]; }
  int64_t calls() const;
  // What the rank sends if collectives are rings. What it receives as messages is not in it.
  double bytes_sent() const;
  bool operator==(const CommunicationVolume&) const = default;
};

// ---- published volumes: elements that a rank sends in one step ----
//
// b micro-batch size, s sequence length, h hidden size, t tensor-parallel, p pipeline-parallel and d
// data-parallel ranks, v chunks a rank, m micro-batches of the step.

struct ActivationSize {
  double micro_batch_size = 1, sequence_length = 1, hidden_size = 1;
  double tokens() const { return micro_batch_size * sequence_length; }
  double elements() const { return tokens() * hidden_size; }
};

// Layers on this rank, for one micro-batch forward and backward: 8 b s h (t - 1) / t each, as four
// all-reduces (Narayanan et al. 2021, section 3.2), or with sequence parallelism as four all-gathers and
// four reduce-scatters (Korthikanti et al. 2022, section 4.2.2).
double tensor_layer_volume(const ActivationSize& size, int tensor_parallel, int layers);
// What sequence parallelism adds when the inputs of a layer's two column-parallel linears are kept only
// as shards and gathered once more in backward (the same section): 2 b s h (t - 1) / t a layer.
double sequence_regather_volume(const ActivationSize& size, int tensor_parallel, int layers);
// What full recomputation adds: the forward's half of tensor_layer_volume() again.
double tensor_recompute_volume(const ActivationSize& size, int tensor_parallel, int layers);
// Vocabulary-parallel embedding, forward only, and the head's input, backward only (Shoeybi et al. 2019,
// section 3): one all-reduce of b s h each.
double embedding_volume(const ActivationSize& size, int tensor_parallel);
double head_volume(const ActivationSize& size, int tensor_parallel);
// Vocabulary-parallel cross-entropy: three all-reduces of b s numbers, 6 b s (t - 1) / t.
double cross_entropy_volume(const ActivationSize& size, int tensor_parallel);

// Between stages: b s h for each boundary, direction and micro-batch; b s h / t with scatter/gather
// (Narayanan et al. 2021, sections 3.2 and 4.1). Of pipeline rank `rank`, both directions, all m.
struct PipelineTraffic {
  int pipeline_parallel = 1, virtual_pipeline = 1, micro_batches = 1, rank = 0;
  int tensor_parallel = 1;
  bool scatter_gather = false;
};
double pipeline_volume(const ActivationSize& size, const PipelineTraffic& traffic);
// What scatter/gather moves to the tensor-parallel group instead: each message received is gathered there,
// b s h (t - 1) / t. 0 without it.
double scatter_gather_volume(const ActivationSize& size, const PipelineTraffic& traffic);
// The gradient of a table that first and last stage share: one all-reduce between the two.
double tied_gradient_volume(double parameters);

// Of `parameters` on this rank, over the data-parallel ranks (Rajbhandari et al. 2020, section 7), each times
// (d - 1) / d. ZeRO stage 0: gradients 2 (an all-reduce). Stages 1 and 2: gradients 1, weights 1. Stage 3:
// gradients 1, weights 2 (for forward and for backward). `passes`: how often in a step stages 2 and 3 do
// so; 1 as published, m where the gradients of every micro-batch are reduced.
struct DataParallelVolume {
  double gradients = 0, weights = 0;
  double total() const { return gradients + weights; }
};
DataParallelVolume data_parallel_volume(double parameters, int data_parallel, int zero_stage, int passes = 1);

// ---- measured beside published ----

struct VolumeRow {
  std::string group;  // "tensor"
  int64_t calls = 0;
  double bytes = 0;          // sent by the rank in the step
  double formula_bytes = 0;  // 0: there is no formula
  bool operator==(const VolumeRow&) const = default;
};
// "+0.4 %" of `bytes` over `formula_bytes`; "–" where either is missing.
std::string difference_text(double bytes, double formula_bytes);
// For the terminal: group, calls, sent, formula, difference.
std::string volume_table(std::span<const VolumeRow> rows);

}  // namespace triax
