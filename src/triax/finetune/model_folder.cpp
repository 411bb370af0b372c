#include "triax/finetune/model_folder.h"

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/models/hf_bert.h"
#include "triax/train/load_model.h"

namespace triax::finetune {
namespace {

namespace fs = std::filesystem;
constexpr const char* kTaskFile = "triax_task.json";

bool is_hf_folder(const fs::path& folder) { return !fs::exists(folder) || fs::exists(folder / "config.json"); }

}  // namespace

DType compute_type(TuningPrecision precision) { return precision == TuningPrecision::bf16 ? DType::bf16 : DType::f32; }

void write_tuned_model(const fs::path& folder, const Bert& model, const Task& task, const Tokenizer& tokenizer, TaskKind kind, FinetuneConfig config) {
  const fs::path fresh = folder.string() + ".new";
  fs::remove_all(fresh);
  fs::create_directories(fresh);
  write_hf_bert(fresh, model, task.labels());
  save_tokenizer(tokenizer, fresh);
  const Json json = {{"task", task_name(kind)}, {"config", ConfigFields(config).print()}, {"triax", TRIAX_VERSION}};
  write_file_atomic(fresh / kTaskFile, json.dump(2) + "\n");
  fs::remove_all(folder);
  rename_durable(fresh, folder);
}

TunedModel load_tuned_model(const fs::path& folder, std::optional<TuningPrecision> precision) {
  const fs::path file = folder / kTaskFile;
  check(fs::exists(file), "{}: there is no {}; a model that `triax finetune` made (its folder \"best\") is expected", folder.string(), kTaskFile);
  const auto json = Json::parse_or_null(read_file(file));
  check(json.is_object() && json.contains("task") && json["task"].is_text() && json.contains("config") && json["config"].is_text(),
        "{}: not what triax finetune writes", file.string());
  FinetuneConfig config;
  ConfigFields(config).load_text(json["config"].text(), file.string());
  TunedModel tuned;
  tuned.options = {task_kind_from(json["task"].text()), config.model, config.data, config.task};
  tuned.precision = precision.value_or(config.train.precision);
  tuned.tokenizer = load_tokenizer(folder);
  const HfBertConfig hf = read_hf_bert_config(folder);
  tuned.task = make_task(tuned.options, *tuned.tokenizer, hf.labels);
  tuned.model = std::make_unique<Bert>(hf.model, hf.head, Recompute::none, false, compute_type(tuned.precision));
  const auto missing = load_hf_bert(folder, *tuned.model);
  check(missing.empty(), "{}: there is no tensor for {}", folder.string(), missing.empty() ? "" : missing.front());
  return tuned;
}

std::filesystem::path vocabulary_of(const fs::path& folder) {
  if (is_hf_folder(folder)) return folder;
  const SavedBert saved = open_bert(folder);
  check(!saved.tokenizer.empty(), "{} does not name its vocabulary; turn it into a Hugging Face folder with `triax convert --tokenizer DIR`",
        saved.reader.path().string());
  return saved.tokenizer;
}

std::unique_ptr<Bert> load_for_tuning(const fs::path& folder, const Task& task, uint64_t seed, TuningPrecision precision, std::vector<std::string>& fresh) {
  if (!is_hf_folder(folder)) {
    const SavedBert saved = open_bert(folder);
    auto model = std::make_unique<Bert>(saved.run.model, task.head(), Recompute::none, true, compute_type(precision));
    model->parameters().initialize({}, seed);
    fresh = load_bert(saved, *model);
    return model;
  }
  const HfBertConfig hf = read_hf_bert_config(folder);
  const BertHeadConfig head = task.head();
  auto model = std::make_unique<Bert>(hf.model, head, Recompute::none, true, compute_type(precision));
  model->parameters().initialize({}, seed);
  // A classifier of other classes is no use, even where its shape is the same.
  const bool same_head = hf.head.head == head.head && hf.head.outputs() == head.outputs() && hf.head.hidden_size == head.hidden_size &&
                         (task.labels().empty() || hf.labels == task.labels());
  fresh = load_hf_bert(folder, *model, same_head);
  return model;
}

}  // namespace triax::finetune
