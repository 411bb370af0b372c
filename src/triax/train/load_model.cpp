#include "triax/train/load_model.h"

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/train/run_config.h"
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

LoadedGpt load_gpt(const fs::path& path, const fs::path& tokenizer, DType compute_type) {
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
  loaded.model = std::make_unique<Gpt>(whole_gpt(config.model, compute_type), false);
  load_checkpoint(reader, {}, loaded.model->parameters());
  return loaded;
}

}  // namespace triax
