#include "triax/train/load_model.h"

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/models/parameter_parts.h"
#include "triax/train/state.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

fs::path find_checkpoint(const fs::path& path) {
  check(fs::exists(path), "{}: there is no such checkpoint or run", path.string());
  if (fs::exists(path / "index.json")) return path;
  for (const fs::path& root : {path / "checkpoints", path})
    if (const auto newest = newest_whole_checkpoint(root)) return newest->path;
  fail("{}: neither a checkpoint (no index.json) nor a run with a whole checkpoint in checkpoints/",
       path.string());
}

}  // namespace

LoadedGpt load_gpt(const fs::path& path, const fs::path& tokenizer, DType compute_type, const Context& context) {
  LoadedGpt loaded;
  loaded.checkpoint = find_checkpoint(path);
  const CheckpointReader reader(loaded.checkpoint);
  const TrainState state = train_state_from_json(reader.state(), loaded.checkpoint);
  loaded.step = state.step;
  RunConfig config;
  ConfigFields(config).load_text(state.config, loaded.checkpoint.string() + " (its configuration)");
  config.resolve();
  check(!config.model.is_bert(), "{} is a BERT, which writes no text; `triax finetune` and `triax convert` take it",
        loaded.checkpoint.string());
  const fs::path vocabulary = tokenizer.empty() ? fs::path(state.tokenizer) : tokenizer;
  check(!vocabulary.empty(), "{} does not name its vocabulary: give --tokenizer DIR",
        loaded.checkpoint.string());
  loaded.tokenizer = load_tokenizer(vocabulary);
  loaded.model = std::make_unique<Gpt>(whole_gpt(config.model, compute_type, context.device), false);
  load_checkpoint(reader, context, loaded.model->parameters());
  return loaded;
}

SavedBert open_bert(const fs::path& path) {
  SavedBert saved{.reader = CheckpointReader(find_checkpoint(path)), .run = {}, .tokenizer = {}};
  const fs::path& name = saved.reader.path();
  const TrainState state = train_state_from_json(saved.reader.state(), name);
  ConfigFields(saved.run).load_text(state.config, name.string() + " (its configuration)");
  ModelConfig& model = saved.run.model;
  check(model.is_bert(), "{} is a GPT; a BERT is expected", name.string());
  model.vocab_size = saved.reader.get("embedding.token").shape[0];  // 0 in the configuration: the tokenizer's
  saved.tokenizer = state.tokenizer;
  return saved;
}

std::vector<std::string> load_bert(const SavedBert& saved, Parameters& parameters) {
  std::vector<std::string> missing;
  const auto is_missing = [](const ParameterSpec& spec) { return spec.name.starts_with("classifier."); };  // no pretraining has one
  for (const ParameterSpec& spec : parameters.table().specs()) {
    if (is_missing(spec)) {
      missing.push_back(spec.name);
      continue;
    }
    const Shape& stored = saved.reader.get(spec.name).shape;
    check(stored == spec.global_shape, "{}: {} is {} there, and {} is asked for", saved.reader.path().string(), spec.name,
          stored.to_string(), spec.global_shape.to_string());
  }
  for (const ParameterPart& part : owned_parts(parameters))
    if (!is_missing(*part.spec)) read_region(saved.reader, part.spec->name, part.region, parameters.master_at(part.begin, part.size));
  return missing;
}

std::vector<std::string> load_bert(const SavedBert& saved, Bert& model) {
  auto missing = load_bert(saved, model.parameters());
  model.parameters().refresh_copies({});
  return missing;
}

}  // namespace triax
