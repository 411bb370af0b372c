#include "triax/finetune/model_folder.h"

#include <algorithm>

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/models/hf_bert.h"
#include "triax/tensor/device.h"
#include "triax/train/state.h"

namespace triax::finetune {
namespace {

namespace fs = std::filesystem;
constexpr const char* kTaskFile = "triax_task.json";

// The elements of a tensor that ranks have pieces of, on all of them.
Tensor gather(const HfBertTensor& tensor, const std::vector<TensorPiece>& pieces, const ProcessGrid* grid, std::vector<float>& memory) {
  memory.assign(static_cast<size_t>(tensor.shape.numel()), 0.0f);
  for (const TensorPiece& piece : pieces) {
    if (piece.name != tensor.parameter) continue;
    const HostCopy values(piece.data);
    const float* from = values.view().data<float>();
    for_each_overlap(piece.region, tensor.region, [&](int64_t theirs, int64_t ours, int64_t count) { std::copy_n(from + theirs, count, memory.data() + ours); });
  }
  const Tensor whole(memory.data(), tensor.shape, DType::f32);
  if (grid) grid->world().communicator().all_reduce(whole);  // each element is zero on all ranks but one
  return whole;
}

}  // namespace

void write_tuned_model(const fs::path& folder, Engine& engine, const Task& task, const Tokenizer& tokenizer, TaskKind kind, FinetuneConfig config) {
  const std::vector<TensorPiece> pieces = checkpoint_pieces(engine, false);
  const HfBertConfig hf{engine.config().model, engine.config().head, task.labels()};
  std::vector<float> memory;
  const auto values = [&](const HfBertTensor& tensor) { return gather(tensor, pieces, engine.grid(), memory); };
  if (engine.grid() && engine.grid()->world().rank() > 0) {
    for (const HfBertTensor& tensor : hf_bert_tensors(hf)) values(tensor);
    return;
  }
  const fs::path fresh = folder.string() + ".new";
  fs::remove_all(fresh);
  fs::create_directories(fresh);
  write_hf_bert(fresh, hf, DType::f32, values);
  save_tokenizer(tokenizer, fresh);
  const Json json = {{"task", task_name(kind)}, {"config", ConfigFields(config).print()}, {"triax", TRIAX_VERSION}};
  write_file_atomic(fresh / kTaskFile, json.dump(2) + "\n");
  fs::remove_all(folder);
  rename_durable(fresh, folder);
}

void load_tuned_weights(const fs::path& folder, Engine& engine) {
  for (size_t c = 0; c < engine.num_chunks(); ++c) {
    const auto missing = load_hf_bert(folder, engine.config().model.post_norm, engine.config().head.head, engine.model(c).parameters());
    check(missing.empty(), "{}: there is no tensor for {}", folder.string(), missing.empty() ? "" : missing.front());
  }
  engine.weights_changed();
}

TunedModel load_tuned_model(const fs::path& folder, std::optional<Precision> precision) {
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

}  // namespace triax::finetune
