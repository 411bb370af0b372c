// The papers' closed forms, exactly as published: what the planner's own accounts are held against.
//
// s sequence length, b micro-batch, h hidden, a heads, L layers, V vocabulary, t tensor-parallel ranks, p pipeline
// ranks, v chunks a rank, m micro-batches of a pipeline. Bytes are for 2-byte activations and 1-byte masks.
#pragma once

#include <cstdint>

#include "triax/models/model_config.h"

namespace triax {

// Eq. 2 of Narayanan et al. 2021.
double published_parameters(const ModelConfig& model, int64_t sequence_length);
// Eq. 3: FLOPs of one iteration with every layer computed a second time in the backward.
double published_flops(const ModelConfig& model, int64_t sequence_length, int64_t global_batch_size);
// Eq. 7 of Korthikanti et al. 2022: the same without the second forward ("model FLOPs"), and Eq. 8, with only the
// attention computed again ("hardware FLOPs" of selective recomputation).
double published_model_flops(const ModelConfig& model, int64_t sequence_length, int64_t global_batch_size);
double published_selective_flops(const ModelConfig& model, int64_t sequence_length, int64_t global_batch_size);
// Eq. 4: days for `tokens` with `parameters` on `devices` that do `flops_per_second` each.
double published_days(double tokens, double parameters, double devices, double flops_per_second);

// Bytes a layer keeps for its backward: Table 2 of Korthikanti et al. 2022.
struct LayerShape {
  double sequence_length = 0, micro_batch_size = 0, hidden_size = 0, num_heads = 0, tensor_parallel = 1;
};
enum class Recomputation { none, selective, full };  // selective: the attention between Q, K, V and its output
double layer_activation_bytes(const LayerShape& shape, Recomputation recomputation, bool sequence_parallel);
// Of the first pipeline stage with 1F1B, in layers' worth: L (1 + (p - 1) / (p v)), whatever p (section 4.2.3).
double first_stage_layers(double num_layers, int pipeline_parallel, int virtual_pipeline);

// Memory of checkpoints every c layers, c A_input + (L / c) A_between, and the c where it is least (section 3.5 of
// Narayanan et al. 2021; per model-parallel rank).
double checkpoint_memory(double c, double num_layers, double input_bytes, double between_bytes);
double best_checkpoint_interval(double num_layers, double input_bytes, double between_bytes);

// Bytes a rank keeps for `parameters` of which `data_parallel` ranks share what the stage says; `optimizer_bytes` K a
// parameter (12: Adam in mixed precision; 16: with an fp32 copy of the gradients). Rajbhandari et al. 2020, section 3.
double zero_bytes(int stage, double parameters, int data_parallel, double optimizer_bytes = 12);
// Elements each rank sends in a step, in units of the parameters: 2, 2, 2, 3 (section 7).
double zero_volume(int stage);

// Best interval between checkpoints, seconds, of a job that fails every `mtbf` seconds and needs `save` for one:
// sqrt(2 save mtbf) (Young 1974).
double best_save_interval(double save_seconds, double mtbf_seconds);

}  // namespace triax
