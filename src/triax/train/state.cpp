#include "triax/train/state.h"

#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/json.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

// The part of a parameter's box that lies inside the global tensor: all but the padding rows.
Region stored_region(const ParameterSpec& spec) {
  Shape shape = spec.shape;
  if (shape.rank() > 0)
    shape[0] = std::clamp<int64_t>(spec.global_shape[0] - spec.offset[0], 0, shape[0]);
  return box_region(spec.offset, shape);
}

// A stretch of a parameter that this rank owns.
struct OwnedPart {
  const ParameterSpec* spec = nullptr;
  int64_t begin = 0, size = 0;  // in the flat layout
  Region region;                // of the global tensor
};

// `within(segment)`: the stretch of a segment to take.
template <typename Within>
std::vector<OwnedPart> parts_of(const Parameters& parameters, Within&& within) {
  std::vector<OwnedPart> parts;
  for (const ParameterSpec& spec : parameters.table().specs()) {
    const Segment mine = within(parameters.table().units()[static_cast<size_t>(spec.unit)].segments[spec.matrix ? 0 : 1]);
    const Region box = stored_region(spec);
    const int64_t begin = std::max(spec.begin, mine.begin);
    const int64_t end = std::min(spec.begin + box.numel(), mine.begin + mine.size);
    if (begin >= end) continue;
    parts.push_back({&spec, begin, end - begin,
                     flat_region(box.offset, box.shape, begin - spec.begin, end - spec.begin)});
  }
  return parts;
}

TensorPiece piece_of(const std::string& name, const OwnedPart& part, const Tensor& values) {
  return {name, part.spec->global_shape, part.region, values};
}

void add_pieces(const OwnedPart& part, const Parameters& parameters, const Optimizer* optimizer,
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
  for (const OwnedPart& part : parts_of(parameters, [&](const Segment& s) { return parameters.shard(s); }))
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

void load_checkpoint(const CheckpointReader& reader, Parameters& parameters, Optimizer* optimizer) {
  const bool sharded = parameters.sharding().state();
  std::vector<TensorPiece> pieces;
  for (const OwnedPart& part :
       parts_of(parameters, [&](const Segment& s) { return sharded ? parameters.shard(s) : s; }))
    add_pieces(part, parameters, optimizer, pieces);
  for (const TensorPiece& piece : pieces) {
    const Shape& stored = reader.get(piece.name).shape;
    check(stored == piece.global_shape, "{}: {} is {} there and {} in this run's [model]",
          reader.path().string(), piece.name, stored.to_string(), piece.global_shape.to_string());
    if (piece.data.device().on_host()) {
      reader.read(piece.name, piece.region, piece.data);
      continue;
    }
    const OwnedTensor on_host(piece.data.shape(), piece.data.dtype());
    reader.read(piece.name, piece.region, on_host);
    copy_between_devices(on_host, piece.data);
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
