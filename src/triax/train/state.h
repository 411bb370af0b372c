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
  int64_t step = 0;              // optimizer steps done
  int64_t consumed_samples = 0;  // of the training order
  int64_t consumed_tokens = 0;
  std::string config;            // the run's configuration as TOML
  std::string tokenizer;         // folder of the vocabulary it was trained with
};

std::string to_json(const TrainState& state);
TrainState train_state_from_json(const std::string& text, const std::filesystem::path& checkpoint);

// Weights under the parameters' names; with `optimizer`, the moments as "optimizer.m.<name>" and
// "optimizer.v.<name>". Padding rows of the vocabulary are left out: other grids pad differently.
std::vector<TensorPiece> checkpoint_pieces(const Parameters& parameters, const Optimizer* optimizer);

// Fills weights (and moments) from a checkpoint of any grid.
void load_checkpoint(const CheckpointReader& reader, const Context& context, Parameters& parameters,
                     Optimizer* optimizer);

}  // namespace triax
