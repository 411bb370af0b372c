#include "triax/finetune/start.h"

#include <functional>

#include "triax/base/error.h"
#include "triax/models/hf_bert.h"
#include "triax/train/load_model.h"

namespace triax::finetune {
namespace {

namespace fs = std::filesystem;

bool is_hf_folder(const fs::path& folder) { return !fs::exists(folder) || fs::exists(folder / "config.json"); }

std::vector<std::string> load_chunks(Engine& engine, const std::function<std::vector<std::string>(Parameters&)>& load) {
  std::vector<std::string> fresh;
  for (size_t c = 0; c < engine.num_chunks(); ++c)
    for (std::string& name : load(engine.model(c).parameters())) fresh.push_back(std::move(name));
  return fresh;
}

}  // namespace

ModelConfig model_of(const fs::path& folder) {
  return is_hf_folder(folder) ? read_hf_bert_config(folder).model : open_bert(folder).run.model;
}

fs::path vocabulary_of(const fs::path& folder) {
  if (is_hf_folder(folder)) return folder;
  const SavedBert saved = open_bert(folder);
  check(!saved.tokenizer.empty(), "{} does not name its vocabulary; turn it into a Hugging Face folder with `triax convert --tokenizer DIR`",
        saved.reader.path().string());
  return saved.tokenizer;
}

EngineConfig engine_config(const FinetuneConfig& config, const ModelConfig& model, const BertHeadConfig& head, int64_t seed) {
  const TrainSection& train = config.train;
  EngineConfig engine;
  engine.model = model;
  engine.model.vocab_multiple = 1;  // no logits are computed of it: nothing is gained by padding
  engine.head = head;
  engine.precision = train.precision;
  engine.recompute = train.recompute;
  engine.optimizer = {.beta1 = 0.9, .beta2 = train.beta2, .epsilon = 1e-8, .weight_decay = train.weight_decay};
  engine.clip_gradient = train.clip_gradient;
  engine.loss_scaling.fixed = train.loss_scale;
  engine.loss_scaling.initial = train.initial_loss_scale;
  engine.seed = static_cast<uint64_t>(seed);
  engine.parallel = config.parallel.engine();
  return engine;
}

std::vector<std::string> load_for_tuning(const fs::path& folder, const Task& task, Engine& engine) {
  for (size_t c = 0; c < engine.num_chunks(); ++c) engine.model(c).parameters().initialize(engine.context(), engine.config().seed);
  std::vector<std::string> fresh;
  if (is_hf_folder(folder)) {
    const HfBertConfig hf = read_hf_bert_config(folder);
    const BertHeadConfig& head = engine.config().head;
    // A classifier of other classes is no use, even where its shape is the same.
    const bool same_head = hf.head.head == head.head && hf.head.outputs() == head.outputs() && hf.head.hidden_size == head.hidden_size &&
                           (task.labels().empty() || hf.labels == task.labels());
    fresh = load_chunks(engine, [&](Parameters& p) { return load_hf_bert(folder, hf.model.post_norm, head.head, p, same_head); });
  } else {
    const SavedBert saved = open_bert(folder);
    fresh = load_chunks(engine, [&](Parameters& p) { return load_bert(saved, p); });
  }
  engine.weights_changed();
  return fresh;
}

}  // namespace triax::finetune
