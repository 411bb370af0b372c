#include "triax/finetune/model_folder.h"

#include <algorithm>

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/system.h"
#include "triax/finetune/batches.h"
#include "triax/models/hf_bert.h"
#include "triax/tensor/device.h"
#include "triax/train/memory_limit.h"
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

// On a CPU there is no tf32; and in FP8 an answer would depend on what is computed together with it, which has one scale.
Precision precision_to_predict(Precision tuned_in, bool cpu) {
  if (tuned_in == Precision::fp8) return Precision::bf16;
  return cpu && tuned_in == Precision::tf32 ? Precision::fp32 : tuned_in;
}

EngineConfig engine_to_predict(const HfBertConfig& hf, const TunedModelOptions& options, Precision tuned_in, const ProcessGrid* grid) {
  EngineConfig engine;
  engine.model = hf.model;
  engine.model.vocab_multiple = 1;  // nothing is gained by padding
  engine.head = hf.head;
  engine.precision = options.precision.value_or(precision_to_predict(tuned_in, options.device.kind == Device::Kind::cpu));
  engine.device = options.device;
  if (grid) engine.parallel.grid = grid->shape();
  size_engine_to_predict(options.tokens, engine);
  return engine;
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

TunedModel load_tuned_model(const fs::path& folder, const TunedModelOptions& options, const ProcessGrid* grid, std::unique_ptr<DeviceQueue> queue) {
  const fs::path file = folder / kTaskFile;
  check(fs::exists(file), "{}: there is no {}; a model that `triax finetune` made (its folder \"best\") is expected", folder.string(), kTaskFile);
  const auto json = Json::parse_or_null(read_file(file));
  check(json.is_object() && json.contains("task") && json["task"].is_text() && json.contains("config") && json["config"].is_text(),
        "{}: not what triax finetune writes", file.string());
  FinetuneConfig config;
  ConfigFields(config).load_text(json["config"].text(), file.string());
  TunedModel tuned;
  tuned.options = {task_kind_from(json["task"].text()), config.model, config.data, config.task};
  tuned.tokenizer = load_tokenizer(folder);
  const HfBertConfig hf = read_hf_bert_config(folder);
  tuned.task = make_task(tuned.options, *tuned.tokenizer, hf.labels);
  const EngineConfig engine = engine_to_predict(hf, options, config.train.precision, grid);
  require_memory(plan_memory(engine, grid ? grid->at() : GridCoordinates{}), engine.device, resident_bytes(), grid ? &grid->world() : nullptr,
                 fmt::format("compute fewer tokens at a time (--tokens, now {})", options.tokens));
  tuned.engine = std::make_unique<Engine>(engine, grid, std::move(queue));
  load_tuned_weights(folder, *tuned.engine);
  return tuned;
}

}  // namespace triax::finetune
