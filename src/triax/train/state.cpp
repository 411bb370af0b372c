#include "triax/train/state.h"

#include "triax/base/error.h"
#include "triax/base/json.h"
#include "triax/models/parameter_parts.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

TensorPiece piece_of(const std::string& name, const ParameterPart& part, const Tensor& values) {
  return {name, part.spec->global_shape, part.region, values};
}

void add_pieces(const ParameterPart& part, const Parameters& parameters, const Optimizer* optimizer,
                std::vector<TensorPiece>& pieces) {
  pieces.push_back(piece_of(part.spec->name, part, parameters.master_at(part.begin, part.size)));
  if (!optimizer) return;
  pieces.push_back(piece_of("optimizer.m." + part.spec->name, part, optimizer->moment1_at(part.begin, part.size)));
  pieces.push_back(piece_of("optimizer.v." + part.spec->name, part, optimizer->moment2_at(part.begin, part.size)));
}

}  // namespace

std::string to_json(const TrainState& state) {
  Json json{{"step", state.step},
            {"consumed_samples", state.consumed_samples},
            {"consumed_tokens", state.consumed_tokens},
            {"config", state.config},
            {"tokenizer", state.tokenizer}};
  const LossScaleState& scale = state.loss_scale;
  if (scale.scale > 0 || scale.skipped_steps > 0)
    json["loss_scale"] = Json{{"scale", scale.scale},
                              {"clean_steps", scale.clean_steps},
                              {"overflows_left", scale.overflows_left},
                              {"skipped_steps", scale.skipped_steps}};
  return json.dump();
}

TrainState train_state_from_json(const std::string& text, const std::filesystem::path& checkpoint) {
  try {
    const Json json = Json::parse(text, "state");
    TrainState state{.step = json.at("step").integer(),
                     .consumed_samples = json.at("consumed_samples").integer(),
                     .consumed_tokens = json.at("consumed_tokens").integer(),
                     .loss_scale = {},
                     .config = json.at("config").text(),
                     .tokenizer = json.contains("tokenizer") ? json["tokenizer"].text() : ""};
    if (!json.contains("loss_scale")) return state;
    const Json& scale = json["loss_scale"];
    state.loss_scale = {.scale = scale.at("scale").number(),
                        .clean_steps = scale.at("clean_steps").integer(),
                        .overflows_left = scale.at("overflows_left").integer(),
                        .skipped_steps = scale.at("skipped_steps").integer()};
    return state;
  } catch (const Error& error) {
    fail("{}: its \"state\" is not that of a training run ({})", checkpoint.string(), error.what());
  }
}

std::vector<TensorPiece> checkpoint_pieces(const Parameters& parameters, const Optimizer* optimizer,
                                           bool saves_whole) {
  std::vector<TensorPiece> pieces;
  for (const ParameterPart& part : shares_of(parameters))
    if (!part.spec->tied_copy && (part.spec->split || saves_whole)) add_pieces(part, parameters, optimizer, pieces);
  return pieces;
}

std::vector<TensorPiece> checkpoint_pieces(Engine& engine, bool with_optimizer) {
  std::vector<TensorPiece> pieces;
  for (size_t c = 0; c < engine.num_chunks(); ++c)
    for (TensorPiece& piece : checkpoint_pieces(engine.model(c).parameters(), with_optimizer ? &engine.optimizer(c) : nullptr,
                                                engine.at().tensor == 0))
      pieces.push_back(std::move(piece));
  return pieces;
}

void read_region(const CheckpointReader& reader, const std::string& name, const Region& region, const Tensor& to) {
  if (to.device().on_host()) return reader.read(name, region, to);
  const OwnedTensor on_host(to.shape(), to.dtype());
  reader.read(name, region, on_host);
  copy_between_devices(on_host, to);
}

void load_checkpoint(const CheckpointReader& reader, Parameters& parameters, Optimizer* optimizer) {
  std::vector<TensorPiece> pieces;
  for (const ParameterPart& part : owned_parts(parameters))
    add_pieces(part, parameters, optimizer, pieces);
  for (const TensorPiece& piece : pieces) {
    const Shape& stored = reader.get(piece.name).shape;
    check(stored == piece.global_shape, "{}: {} is {} there and {} in this run's [model]",
          reader.path().string(), piece.name, stored.to_string(), piece.global_shape.to_string());
    read_region(reader, piece.name, piece.region, piece.data);
  }
}

void load_checkpoint(const CheckpointReader& reader, Engine& engine, bool with_optimizer) {
  for (size_t c = 0; c < engine.num_chunks(); ++c)
    load_checkpoint(reader, engine.model(c).parameters(), with_optimizer ? &engine.optimizer(c) : nullptr);
  engine.weights_changed();
}

void load_checkpoint(const CheckpointReader& reader, const Context& context, Parameters& parameters) {
  load_checkpoint(reader, parameters, nullptr);
  parameters.refresh_copies(context);
}

}  // namespace triax
