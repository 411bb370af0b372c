// What one micro-batch costs in one layer, in the head and in the embedding.
#include "triax/plan/layer_cost.h"

#include <algorithm>

namespace triax {
namespace {

// Bytes for each element of [n, h] that norms, dropout and residual sums move on each tensor rank (with sequence
// parallelism on 1 / t of the tokens), of [n, h / t] elsewhere, and of the scores [b, a / t, s, s].
struct Traffic {
  double residual, inner, scores, kernels;
};
// Two norms (4 each), two of bias + dropout + add (7 each) | Q, K, V bias (12), context (4), bias + GELU (16) | scale
// + mask + softmax (4), dropout (5).
constexpr Traffic kForward = {22, 32, 9, 11};
// Without fusion every elementary operation is a kernel of its own: bias, dropout and add (15 for 7), bias and GELU
// (32 for 16); scale, mask, and softmax computed in fp32 between two casts (30 for 4).
constexpr Traffic kForwardUnfused = {38, 48, 35, 26};
// Norms (8 each), dropout (5) and bias sums (2) twice, sums of the two paths (6 each) | Q, K, V, context and GELU (52)
// | softmax (6), dropout (5).
constexpr Traffic kBackward = {42, 52, 11, 20};
constexpr Traffic kBackwardUnfused = {46, 72, 37, 34};

double traffic_seconds(const CostShape& c, const Traffic& traffic) {
  const double bytes = traffic.residual * c.n * c.h / (c.sequence_parallel ? c.t : 1) + traffic.inner * c.n * c.h / c.t +
                       traffic.scores * c.b * c.a * c.s * c.s / c.t;
  return memory_seconds(c.hardware->device, bytes * c.element / 2, traffic.kernels);
}

double gemm(const CostShape& c, double m, double n, double k, double count = 1) {
  return gemm_seconds(c.hardware->device, m, n, k, count);
}

double attention_products(const CostShape& c) {
  const double heads = c.b * c.a / c.t, width = c.h / c.a;
  return gemm(c, c.s, c.s, width, heads) + gemm(c, c.s, width, c.s, heads);
}

// One exchange of an [n, h] activation, all-gather or reduce-scatter; an all-reduce is two.
double tensor_gather(const CostShape& c) {
  if (const int i = profiled(*c.plan, *c.hardware); i >= 0) return c.hardware->profile.exchange[static_cast<size_t>(i)] / 2;
  return gather_seconds(*c.hardware, c.tensor_place, c.element * c.n * c.h);
}

}  // namespace

CostShape cost_shape(const StepPlan& plan, const Hardware& hardware) {
  const auto value = [](int64_t x) { return static_cast<double>(x); };
  const int64_t t = plan.tensor_parallel, in_node = std::min(t, hardware.node.devices);
  return {.hardware = &hardware,
          .n = value(plan.micro_batch_size * plan.sequence_length),
          .b = value(plan.micro_batch_size),
          .s = value(plan.sequence_length),
          .h = value(plan.model.hidden_size),
          .f = value(plan.model.ffn_size()),
          .a = value(plan.model.num_heads),
          .t = value(t),
          .vocabulary = value(plan.model.padded_vocab_size(static_cast<int>(t))),
          .element = hardware.device.kind == "cpu" && plan.precision == Precision::fp32 ? 4.0 : 2.0,
          .plan = &plan,
          .sequence_parallel = plan.sequence_parallel && t > 1,
          .tensor_place = {.size = t, .in_node = in_node, .groups_in_node = std::max<int64_t>(1, hardware.node.devices / in_node)}};
}

int profiled(const StepPlan& plan, const Hardware& hardware) {
  constexpr const char* kRecompute[] = {"none", "selective", "full"};
  const ProfileSpec& f = hardware.profile;
  if (f.hidden_size != plan.model.hidden_size || f.num_heads != plan.model.num_heads || f.ffn_hidden_size != plan.model.ffn_size() ||
      f.vocab_size != plan.model.vocab_size || f.sequence_length != plan.sequence_length || f.micro_batch_size != plan.micro_batch_size ||
      f.precision != name_of(plan.precision) || f.recompute != kRecompute[static_cast<size_t>(plan.recompute)])
    return -1;
  const auto found = std::find(f.tensor_parallel.begin(), f.tensor_parallel.end(), plan.tensor_parallel);
  return found == f.tensor_parallel.end() ? -1 : static_cast<int>(found - f.tensor_parallel.begin());
}

LayerTimes layer_times(const StepPlan& plan, const Hardware& hardware) {
  const CostShape c = cost_shape(plan, hardware);
  if (const int i = profiled(plan, hardware); i >= 0) {
    const auto at = static_cast<size_t>(i);
    LayerTimes measured;
    measured.forward.gemm = hardware.profile.layer_forward[at];
    measured.backward_weight.gemm = hardware.profile.layer_backward_weight[at];
    measured.recompute.gemm = hardware.profile.layer_recompute[at];
    measured.backward_input.gemm = hardware.profile.layer_backward[at] - hardware.profile.layer_backward_weight[at] - hardware.profile.layer_recompute[at];
    measured.forward.tensor = measured.backward_input.tensor = 4 * tensor_gather(c);
    if (plan.recompute == Recomputation::full) measured.recompute.tensor = measured.forward.tensor;
    return measured;
  }
  const SoftwareSpec& software = hardware.software;
  LayerTimes times;
  times.forward.gemm = gemm(c, c.n, 3 * c.h / c.t, c.h) + gemm(c, c.n, c.h, c.h / c.t) + gemm(c, c.n, c.f / c.t, c.h) +
                       gemm(c, c.n, c.h, c.f / c.t) + attention_products(c);
  times.forward.memory = traffic_seconds(c, software.fused_operators ? kForward : kForwardUnfused);
  times.forward.tensor = 4 * tensor_gather(c);
  if (plan.recompute == Recomputation::full) times.recompute = times.forward;
  if (plan.recompute == Recomputation::selective) {
    const Traffic& traffic = software.fused_operators ? kForward : kForwardUnfused;
    times.recompute.gemm = attention_products(c);
    times.recompute.memory = traffic_seconds(c, {0, 0, traffic.scores, 2});
  }
  times.backward_weight.gemm = gemm(c, 3 * c.h / c.t, c.h, c.n) + gemm(c, c.h, c.h / c.t, c.n) + gemm(c, c.f / c.t, c.h, c.n) +
                               gemm(c, c.h, c.f / c.t, c.n);
  times.backward_input.gemm = gemm(c, c.n, c.h, 3 * c.h / c.t) + gemm(c, c.n, c.h / c.t, c.h) + gemm(c, c.n, c.h, c.f / c.t) +
                              gemm(c, c.n, c.f / c.t, c.h) + 2 * attention_products(c);
  times.backward_input.memory = traffic_seconds(c, software.fused_operators ? kBackward : kBackwardUnfused);
  // The all-reduce after an input gradient can run beside the weight gradient; with sequence parallelism half of the
  // exchange comes before the input gradient, which needs it.
  // With split backwards the two are not neighbours.
  const bool overlaps = software.overlap_tensor && !splits_backward(plan.schedule);
  const double hidden = overlaps ? std::min((c.sequence_parallel ? 2 : 4) * tensor_gather(c), times.backward_weight.gemm) : 0;
  times.backward_input.tensor = std::max(0.0, 4 * tensor_gather(c) - hidden);
  return times;
}

ChunkTimes head_times(const CostShape& c) {
  ChunkTimes times;
  if (const int i = profiled(*c.plan, *c.hardware); i >= 0) {
    times.forward.gemm = c.hardware->profile.head_forward[static_cast<size_t>(i)];
    times.forward.tensor = 2 * tensor_gather(c);
    times.backward_input.gemm = c.hardware->profile.head_backward[static_cast<size_t>(i)];
    return times;
  }
  const bool bert = c.plan->model.is_bert();
  const double n = bert ? kMaskedShare * c.n : c.n;  // tokens with logits
  const double logits = n * c.vocabulary / c.t;
  times.forward.gemm = gemm(c, n, c.vocabulary / c.t, c.h) + (bert ? gemm(c, n, c.h, c.h) : 0);
  // A norm; logits cast to fp32, their maximum, exponentials and sum.
  times.forward.memory = memory_seconds(c.hardware->device, 4 * c.n * c.h + 30 * logits, 12);
  times.backward_input.gemm = gemm(c, n, c.h, c.vocabulary / c.t) + (bert ? gemm(c, n, c.h, c.h) : 0);
  times.backward_input.memory = memory_seconds(c.hardware->device, 8 * c.n * c.h + 14 * logits, 6);
  times.backward_input.tensor = (bert ? kMaskedShare : 1) * 2 * tensor_gather(c);
  times.backward_weight.gemm = gemm(c, c.vocabulary / c.t, c.h, n) + (bert ? gemm(c, c.h, c.h, n) : 0);
  return times;
}

ChunkTimes embedding_times(const CostShape& c) {
  ChunkTimes times;
  if (const int i = profiled(*c.plan, *c.hardware); i >= 0) {
    times.forward.gemm = c.hardware->profile.embedding[static_cast<size_t>(i)];
    times.forward.tensor = 2 * tensor_gather(c);
    return times;
  }
  times.forward.memory = memory_seconds(c.hardware->device, 15 * c.n * c.h, 5);
  times.forward.tensor = 2 * tensor_gather(c);
  times.backward_input.memory = memory_seconds(c.hardware->device, 12 * c.n * c.h, 5);
  return times;
}

}  // namespace triax
