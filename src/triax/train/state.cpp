#include "triax/train/state.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "triax/base/error.h"

namespace triax {
namespace {

// The part of a parameter's box that lies inside the global tensor: all but the padding rows.
Region stored_region(const ParameterSpec& spec) {
  Shape shape = spec.shape;
  if (shape.rank() > 0)
    shape[0] = std::clamp<int64_t>(spec.global_shape[0] - spec.offset[0], 0, shape[0]);
  return box_region(spec.offset, shape);
}

TensorPiece piece_of(const std::string& name, const ParameterSpec& spec, const Tensor& values) {
  const Region region = stored_region(spec);
  return {name, spec.global_shape, region, values.reshape({-1}).narrow(0, 0, region.numel())};
}

}  // namespace

std::string to_json(const TrainState& state) {
  return nlohmann::json{{"step", state.step},
                        {"consumed_samples", state.consumed_samples},
                        {"consumed_tokens", state.consumed_tokens},
                        {"config", state.config},
                        {"tokenizer", state.tokenizer}}
      .dump();
}

TrainState train_state_from_json(const std::string& text, const std::filesystem::path& checkpoint) {
  try {
    const auto json = nlohmann::json::parse(text);
    return {.step = json.at("step"),
            .consumed_samples = json.at("consumed_samples"),
            .consumed_tokens = json.at("consumed_tokens"),
            .config = json.at("config"),
            .tokenizer = json.value("tokenizer", "")};
  } catch (const nlohmann::json::exception& error) {
    fail("{}: its \"state\" is not that of a training run ({})", checkpoint.string(), error.what());
  }
}

std::vector<TensorPiece> checkpoint_pieces(const Parameters& parameters, const Optimizer* optimizer) {
  std::vector<TensorPiece> pieces;
  const auto& specs = parameters.table().specs();
  for (int i = 0; i < static_cast<int>(specs.size()); ++i) {
    const ParameterSpec& spec = specs[static_cast<size_t>(i)];
    pieces.push_back(piece_of(spec.name, spec, parameters.master(i)));
    if (!optimizer) continue;
    pieces.push_back(piece_of("optimizer.m." + spec.name, spec, optimizer->moment1(i)));
    pieces.push_back(piece_of("optimizer.v." + spec.name, spec, optimizer->moment2(i)));
  }
  return pieces;
}

void load_checkpoint(const CheckpointReader& reader, const Context& context, Parameters& parameters,
                     Optimizer* optimizer) {
  for (const TensorPiece& piece : checkpoint_pieces(parameters, optimizer)) {
    const Shape& stored = reader.get(piece.name).shape;
    check(stored == piece.global_shape, "{}: {} is {} there and {} in this run's [model]",
          reader.path().string(), piece.name, stored.to_string(), piece.global_shape.to_string());
    reader.read(piece.name, piece.region, piece.data);
  }
  parameters.refresh_copies(context);
}

}  // namespace triax
