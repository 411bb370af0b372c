#include "triax/plan/formulas.h"

#include <cmath>

#include "triax/base/error.h"

namespace triax {
namespace {

struct Sizes {
  double h, L, V, s, B;
};
Sizes sizes(const ModelConfig& model, int64_t sequence_length, int64_t batch) {
  return {static_cast<double>(model.hidden_size), static_cast<double>(model.num_layers),
          static_cast<double>(model.vocab_size), static_cast<double>(sequence_length), static_cast<double>(batch)};
}

}  // namespace

double published_parameters(const ModelConfig& model, int64_t sequence_length) {
  const auto [h, L, V, s, B] = sizes(model, sequence_length, 1);
  return 12 * L * h * h * (1 + 13 / (12 * h) + (V + s) / (12 * L * h));
}

double published_flops(const ModelConfig& model, int64_t sequence_length, int64_t global_batch_size) {
  const auto [h, L, V, s, B] = sizes(model, sequence_length, global_batch_size);
  return 96 * B * s * L * h * h * (1 + s / (6 * h) + V / (16 * L * h));
}

double published_model_flops(const ModelConfig& model, int64_t sequence_length, int64_t global_batch_size) {
  const auto [h, L, V, s, B] = sizes(model, sequence_length, global_batch_size);
  return 72 * B * s * L * h * h * (1 + s / (6 * h) + V / (12 * L * h));
}

double published_selective_flops(const ModelConfig& model, int64_t sequence_length, int64_t global_batch_size) {
  const auto [h, L, V, s, B] = sizes(model, sequence_length, global_batch_size);
  return 72 * B * s * L * h * h * (1 + s / (3 * h) + V / (12 * L * h));
}

double published_days(double tokens, double parameters, double devices, double flops_per_second) {
  return 8 * tokens * parameters / (devices * flops_per_second) / 86400;
}

double layer_activation_bytes(const LayerShape& shape, Recomputation recomputation, bool sequence_parallel) {
  const double sbh = shape.sequence_length * shape.micro_batch_size * shape.hidden_size;
  const double t = shape.tensor_parallel;
  if (recomputation == Recomputation::full) return 2 * sbh;
  const double scores = 5 * shape.num_heads * shape.sequence_length / (shape.hidden_size * t);
  const double replicated = sequence_parallel ? 10 / t : 10;  // norms, dropout, inputs of the parallel regions
  return sbh * (replicated + 24 / t + (recomputation == Recomputation::selective ? 0 : scores));
}

double first_stage_layers(double num_layers, int pipeline_parallel, int virtual_pipeline) {
  if (virtual_pipeline == 1) return num_layers;
  return num_layers * (1 + (pipeline_parallel - 1.0) / (pipeline_parallel * virtual_pipeline));
}

double checkpoint_memory(double c, double num_layers, double input_bytes, double between_bytes) {
  return c * input_bytes + num_layers / c * between_bytes;
}

double best_checkpoint_interval(double num_layers, double input_bytes, double between_bytes) {
  return std::sqrt(num_layers * between_bytes / input_bytes);
}

double zero_bytes(int stage, double parameters, int data_parallel, double optimizer_bytes) {
  check(stage >= 0 && stage <= 3, "there is no ZeRO stage {}", stage);
  const double d = data_parallel;
  const double weights = 2 / (stage >= 3 ? d : 1), gradients = 2 / (stage >= 2 ? d : 1);
  return parameters * (weights + gradients + optimizer_bytes / (stage >= 1 ? d : 1));
}

double zero_volume(int stage) { return stage == 3 ? 3 : 2; }

double best_save_interval(double save_seconds, double mtbf_seconds) {
  return std::sqrt(2 * save_seconds * mtbf_seconds);
}

}  // namespace triax
