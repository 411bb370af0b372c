// What a checkpoint holds of a run: the pieces of its tensors, and the few numbers besides.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "triax/checkpoint/checkpoint.h"
#include "triax/train/engine.h"

namespace triax {

// Training continues exactly from these (JSON in the checkpoint's index). The random numbers of dropout
// and data order are functions of the seed, the step and the sample: they have no state.
struct TrainState {
  int64_t step = 0;              // steps done, skipped ones included
  int64_t consumed_samples = 0;  // of the training order
  int64_t consumed_tokens = 0;
  LossScaleState loss_scale;     // all zero where the loss was never scaled
  std::string config;            // the run's configuration as TOML
  std::string tokenizer;         // folder of the vocabulary it was trained with
};

std::string to_json(const TrainState& state);
TrainState train_state_from_json(const std::string& text, const std::filesystem::path& checkpoint);

// What this rank saves: weights under the parameters' names and, with the optimizer, the moments as
// "optimizer.m.<name>" and "optimizer.v.<name>". Over all ranks every element is there once: of what several
// have, each data-parallel rank saves its share. Padding rows of the vocabulary are left out: other grids pad
// differently.
std::vector<TensorPiece> checkpoint_pieces(Engine& engine, bool with_optimizer);

// Elements of a tensor into memory of any device.
void read_region(const CheckpointReader& reader, const std::string& name, const Region& region, const Tensor& to);

// Fills what this rank owns from a checkpoint of any grid, and the weights of all ranks with it. Collective.
void load_checkpoint(const CheckpointReader& reader, Engine& engine, bool with_optimizer);
// The same for the weights of a model without an engine.
void load_checkpoint(const CheckpointReader& reader, const Context& context, Parameters& parameters);

}  // namespace triax
