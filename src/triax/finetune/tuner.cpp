#include "triax/finetune/tuner.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/hash.h"
#include "triax/base/json.h"
#include "triax/base/log.h"
#include "triax/base/progress.h"
#include "triax/base/rng.h"
#include "triax/base/system.h"
#include "triax/base/text.h"
#include "triax/finetune/batches.h"
#include "triax/finetune/model_folder.h"
#include "triax/finetune/predict.h"
#include "triax/finetune/start.h"
#include "triax/kernels/device_queue.h"
#include "triax/tensor/device.h"
#include "triax/train/memory_limit.h"
#include "triax/train/state.h"

namespace triax::finetune {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Of several ranks one speaks and writes.
bool leads(World* world) { return !world || world->rank() == 0; }
void wait_for_all(World* world) {
  if (world) world->communicator().barrier();
}

std::unique_ptr<Progress> show_progress(World* world, std::string label, uint64_t total) {
  return leads(world) ? std::make_unique<Progress>(std::move(label), total, ProgressOptions{.unit = "examples"}) : nullptr;
}

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

void tell(const TaskSet& set, const std::string& path) {
  for (const std::string& note : set.notes) log_info("{}", note);
  tasks::warn_left_out(set.bad, path);
}

// The first example of every group, in a random order of the seed; at most `limit` records of it.
std::vector<size_t> training_order(const TaskSet& set, int64_t limit, uint64_t seed, uint64_t stream) {
  std::vector<size_t> firsts = first_of_groups(set.examples);
  Philox random(seed, stream);
  shuffle(firsts, random);
  if (limit > 0 && limit < static_cast<int64_t>(firsts.size())) firsts.resize(static_cast<size_t>(limit));
  return firsts;
}

// What an interrupted run needs besides the weights.
struct State {
  int64_t epoch = 0, step = 0, tokens = 0, best_epoch = 0, bad_epochs = 0;
  double best = 0;
  bool done = false;
  LossScaleState loss_scale;
  std::vector<EpochRecord> epochs;
};

Json json_of(const State& s, const std::string& config) {
  Json epochs = Json::array();
  for (const EpochRecord& e : s.epochs)
    epochs.push_back({{"epoch", e.epoch}, {"loss", e.loss}, {"dev", e.dev}, {"seconds", e.seconds}, {"tokens_per_second", e.tokens_per_second}});
  return {{"config", config}, {"epoch", s.epoch}, {"step", s.step}, {"tokens", s.tokens}, {"best_epoch", s.best_epoch},
          {"bad_epochs", s.bad_epochs}, {"best", s.best}, {"done", s.done}, {"epochs", epochs},
          {"loss_scale", {{"scale", s.loss_scale.scale}, {"clean_steps", s.loss_scale.clean_steps},
                          {"overflows_left", s.loss_scale.overflows_left}, {"skipped_steps", s.loss_scale.skipped_steps}}}};
}

State state_from(const Json& json) {
  State s{json["epoch"].integer(), json["step"].integer(), json["tokens"].integer(), json["best_epoch"].integer(), json["bad_epochs"].integer(),
          json["best"].number(), json["done"].boolean(), {}, {}};
  if (json.contains("loss_scale")) {
    const Json& scale = json["loss_scale"];
    s.loss_scale = {scale["scale"].number(), scale["clean_steps"].integer(), scale["overflows_left"].integer(), scale["skipped_steps"].integer()};
  }
  for (const Json& e : json["epochs"])
    s.epochs.push_back({e["epoch"].integer(), e["loss"].number(), e["dev"].number(), e["seconds"].number(), e["tokens_per_second"].number()});
  return s;
}

// What a run's results hang on: all but where they go, on which grid and device, and how much is computed at a time.
std::string identity(TaskKind kind, FinetuneConfig config) {
  config.output.dir.clear();
  config.train.seeds = {};
  config.train.micro_batch_tokens = 4096;
  config.train.recompute = Recompute::none;
  config.train.device = Device::Kind::cpu;
  config.parallel = {};
  return std::string(task_name(kind)) + "\n" + ConfigFields(config).print();
}

struct TuningSets {
  std::unique_ptr<TaskSet> train, dev, test;  // the last may be null
};

class SeedRun {
 public:
  SeedRun(TaskKind kind, const FinetuneConfig& config, const Task& task, const Tokenizer& tokenizer, const TuningSets& sets, int64_t seed,
          World* world, const ProcessGrid* grid)
      : kind_(kind), config_(config), task_(task), tokenizer_(tokenizer), train_(*sets.train), dev_(*sets.dev), seed_(seed), world_(world),
        folder_(fs::path(config.output.dir) / fmt::format("seed-{}", seed)), identity_(identity(kind, config)) {
    fs::create_directories(folder_);
    load_state();
    make_engine(sets, grid);
  }

  void run(const std::function<void(int64_t)>& after_epoch) {
    if (state_.done) {
      if (leads(world_)) log_info("seed {}: is done already", seed_);
      return;
    }
    prepare();
    wait_for_all(world_);  // until all have read what the first one will write over
    while (state_.epoch < config_.train.epochs && !gave_up()) {
      one_epoch();
      if (after_epoch) after_epoch(state_.epoch);
    }
    state_.done = true;
    if (leads(world_)) {
      write_file_atomic(folder_ / "state.json", json_of(state_, identity_).dump(1) + "\n");
      fs::remove_all(resumed_from());
    }
    wait_for_all(world_);  // until the best model is written
  }
  const std::vector<EpochRecord>& epochs() const { return state_.epochs; }
  int64_t best_epoch() const { return state_.best_epoch; }

  // The best model on a set; its predictions are written beside it.
  Score score_best(const TaskSet& set, const std::string& name) {
    if (!holds_best_) load_tuned_weights(folder_ / "best", *engine_);
    holds_best_ = true;
    const auto logits = predict(set, name);
    if (leads(world_)) {
      write_file_atomic(folder_ / (name + ".jsonl"), task_.predictions(set, logits));
      const auto [file, text] = task_.official_predictions(set, logits);
      write_file_atomic(folder_ / (name + "-" + file), text);
    }
    Score score = task_.score(set, logits);
    std::stable_sort(score.mistakes.begin(), score.mistakes.end(), [](const Mistake& a, const Mistake& b) { return a.confidence > b.confidence; });
    return score;
  }

 private:
  bool gave_up() const { return config_.train.patience > 0 && state_.bad_epochs >= config_.train.patience; }
  // Weights and moments after the last epoch.
  fs::path resumed_from() const { return folder_ / "resume"; }

  void load_state() {
    const fs::path file = folder_ / "state.json";
    if (!fs::exists(file)) return;
    const Json json = Json::parse_or_null(read_file(file));
    check(json.is_object() && json.contains("config"), "{}: is damaged; remove {} to begin anew", file.string(), folder_.string());
    check(json["config"] == identity_, "{}: belongs to a run with another configuration; choose another output.dir, or remove {}", file.string(), folder_.string());
    state_ = state_from(json);
  }

  void make_engine(const TuningSets& sets, const ProcessGrid* grid) {
    EngineConfig engine = engine_config(config_, model_of(config_.model.path), task_.head(), seed_);
    std::vector<std::span<const Example>> predicted = {dev_.examples};
    if (sets.test) predicted.emplace_back(sets.test->examples);
    size_engine({config_.train.batch_size, config_.train.micro_batch_tokens}, train_.examples, predicted, engine);
    check(engine.sequence_length <= engine.model.max_positions, "a sequence of {} tokens is longer than the {} positions of {}; lower data.max_length = {}",
          engine.sequence_length, engine.model.max_positions, config_.model.path, config_.data.max_length);
    require_memory(plan_memory(engine, grid ? grid->at() : GridCoordinates{}), engine.device, resident_bytes(), world_,
                   fmt::format("lower train.micro_batch_tokens (now {}) or data.max_length (now {}), or set train.recompute to selective or full (now {})",
                               config_.train.micro_batch_tokens, config_.data.max_length, name_of(engine.recompute)));
    engine_ = std::make_unique<Engine>(engine, grid);
    if (!grid || !leads(world_)) return;
    double bytes = 0;
    for (const MemoryUse& use : engine_->memory()) bytes += static_cast<double>(use.bytes);
    fmt::print("seed {}: {} of weights, gradients and activations on the first rank at most\n", seed_, format_bytes(bytes));
  }

  void prepare() {
    const auto fresh = load_for_tuning(config_.model.path, task_, *engine_);
    if (!fresh.empty()) log_debug("seed {}: {} tensors of the head are new", seed_, fresh.size());
    weights_ = class_weights(train_.examples, std::max<int64_t>(task_.head().num_labels, 1), config_.train.class_weights);
    // The same records for every seed; their order is the seed's.
    chosen_ = training_order(train_, config_.data.train_limit, 0, 0);
    std::sort(chosen_.begin(), chosen_.end());
    steps_per_epoch_ = (static_cast<int64_t>(chosen_.size()) + config_.train.batch_size - 1) / config_.train.batch_size;
    const int64_t total = steps_per_epoch_ * config_.train.epochs;
    schedule_ = {.decay = config_.train.decay, .peak = config_.train.learning_rate, .minimum = 0,
                 .warmup_steps = static_cast<int64_t>(std::llround(config_.train.warmup * static_cast<double>(total))), .decay_steps = total};
    head_schedule_ = schedule_;
    if (config_.train.head_learning_rate > 0) head_schedule_.peak = config_.train.head_learning_rate;
    if (state_.epoch == 0) return;
    load_checkpoint(CheckpointReader(checkpoint_path(resumed_from(), state_.step)), *engine_, true);
    engine_->loss_scaler().resume(state_.loss_scale);
    engine_->set_steps_done(state_.step - state_.loss_scale.skipped_steps);
    if (leads(world_)) log_info("seed {}: goes on after epoch {}", seed_, state_.epoch);
  }

  // state.json names the checkpoint that belongs to it.
  void save_state() {
    const CheckpointTarget target{.root = resumed_from(), .step = state_.step, .rank = world_ ? world_->rank() : 0, .num_ranks = world_ ? world_->size() : 1};
    if (leads(world_)) prepare_checkpoint(target);
    wait_for_all(world_);
    write_checkpoint_pieces(target, checkpoint_pieces(*engine_, true));
    wait_for_all(world_);
    if (!leads(world_)) return;
    publish_checkpoint(target, "{}");
    write_file_atomic(folder_ / "state.json", json_of(state_, identity_).dump(1) + "\n");
    prune_checkpoints(resumed_from(), {.last = 1});
  }

  void one_epoch() {
    const auto begin = Clock::now();
    const int64_t epoch = state_.epoch + 1, tokens_before = state_.tokens;
    std::vector<size_t> order = chosen_;
    Philox random(static_cast<uint64_t>(seed_), static_cast<uint64_t>(epoch));
    shuffle(order, random);
    double loss = 0;
    {
      const auto progress = show_progress(world_, fmt::format("seed {}, epoch {}/{}", seed_, epoch, config_.train.epochs), order.size());
      for (size_t at = 0; at < order.size();) {
        const size_t count = std::min(order.size() - at, static_cast<size_t>(config_.train.batch_size));
        const double step_loss = step({order.data() + at, count});
        loss += step_loss;
        at += count;
        if (!progress) continue;
        progress->add(count);
        progress->note(fmt::format("loss {:.4f}", step_loss));
      }
    }
    const double train_seconds = seconds_since(begin);
    const Score dev = task_.score(dev_, predict(dev_, "dev"));
    const bool better = state_.best_epoch == 0 || dev.value > state_.best;
    state_.epoch = epoch;
    state_.loss_scale = engine_->loss_scaler().state();
    state_.epochs.push_back({epoch, loss / static_cast<double>(steps_per_epoch_), dev.value, seconds_since(begin),
                             static_cast<double>(state_.tokens - tokens_before) / train_seconds});
    holds_best_ = better;
    if (better) {
      state_.best = dev.value, state_.best_epoch = epoch, state_.bad_epochs = 0;
      write_tuned_model(folder_ / "best", *engine_, task_, tokenizer_, kind_, config_);
    } else {
      ++state_.bad_epochs;
    }
    save_state();
    if (!leads(world_)) return;
    fmt::print("seed {}  epoch {:>2}  loss {:.4f}  dev {} {:.2f}{}  {:.0f} tokens/s  {}\n", seed_, epoch, state_.epochs.back().loss, dev.metric, dev.value,
               better ? " *" : "  ", state_.epochs.back().tokens_per_second, format_duration(state_.epochs.back().seconds));
    std::fflush(stdout);
  }

  double step(std::span<const size_t> firsts) {
    ++state_.step;
    const auto batches = pack_step(engine_->config(), engine_->at().data, train_.examples, firsts, weights_, config_.train.micro_batch_tokens);
    const int64_t update = engine_->steps_done() + 1;  // a skipped step is not one of the warm-up
    const StepResult result = engine_->train_step(state_.step, {schedule_.at(update), head_schedule_.at(update)}, batches);
    for (const size_t first : firsts)
      for (int64_t j = 0; j < train_.examples[first].group; ++j) state_.tokens += static_cast<int64_t>(train_.examples[first + static_cast<size_t>(j)].ids.size());
    return result.loss;
  }

  std::vector<Logits> predict(const TaskSet& set, const std::string& name) {
    const auto progress = show_progress(world_, name, set.examples.size());
    return predict_all(*engine_, set.examples, config_.train.micro_batch_tokens, [&](uint64_t done) { if (progress) progress->update(done); });
  }

  TaskKind kind_;
  const FinetuneConfig& config_;
  const Task& task_;
  const Tokenizer& tokenizer_;
  const TaskSet &train_, &dev_;
  int64_t seed_;
  World* world_;
  fs::path folder_;
  std::string identity_;
  State state_;
  std::unique_ptr<Engine> engine_;
  bool holds_best_ = false;  // does the engine?
  std::vector<float> weights_;
  std::vector<size_t> chosen_;
  int64_t steps_per_epoch_ = 0;
  LrSchedule schedule_, head_schedule_;
};

void check_config(const FinetuneConfig& c) {
  check(!c.model.path.empty(), "model.path is empty: name the folder of a BERT");
  check(!c.data.train.empty() && !c.data.dev.empty(), "data.train and data.dev are both needed: one to train on, one to choose the best checkpoint by");
  check(!c.output.dir.empty(), "output.dir is empty: name a folder for the results");
  check(!c.train.seeds.empty(), "train.seeds is empty: at least one run is needed");
  check(!c.parallel.nccl || c.train.device == Device::Kind::cuda, "parallel.nccl = true needs train.device = \"cuda\"");
  make_queue({c.train.device, 0}, "train.device = \"cuda\"", "train.device = \"cpu\"");  // throws where there is none
  for (const std::string& file : {c.data.train, c.data.dev, c.data.test}) check(file.empty() || fs::exists(file), "{}: no such file", file);
}

}  // namespace

Spread spread_of(const std::vector<double>& values) {
  Spread spread;
  for (const double v : values) spread.mean += v / static_cast<double>(values.size());
  if (values.size() < 2) return spread;
  double squares = 0;
  for (const double v : values) squares += (v - spread.mean) * (v - spread.mean);
  spread.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return spread;
}

TuningResult run_tuning(TaskKind kind, FinetuneConfig config, const std::function<void(int64_t)>& after_epoch, World* world) {
  if (world && world->size() == 1) world = nullptr;
  check_config(config);
  config.parallel.fit(world ? world->size() : 1);
  std::unique_ptr<ProcessGrid> grid;
  if (world) {
    grid = std::make_unique<ProcessGrid>(*world, config.parallel.engine().grid);
    const std::vector<Fingerprint> same = {{"configuration", fmt::format("{:016x}", hash64(ConfigFields(config).print()))}};
    world->require_same(same);
    if (config.parallel.nccl) grid->use_nccl(device_of_rank(config.train.device, world->local_rank()));
    if (leads(world)) fmt::print("{}\n", config.parallel.describe());
  }
  const auto tokenizer = load_tokenizer(vocabulary_of(config.model.path));
  const auto task = make_task({kind, config.model, config.data, config.task}, *tokenizer, {});
  TuningSets sets{task->read(config.data.train, true), task->read(config.data.dev, true), nullptr};
  if (!config.data.test.empty()) sets.test = task->read(config.data.test, true);
  check(!sets.train->examples.empty(), "{}: there is nothing to train on", config.data.train);
  if (leads(world)) {
    tell(*sets.train, config.data.train);
    tell(*sets.dev, config.data.dev);
    if (sets.test) tell(*sets.test, config.data.test);
    fmt::print("{} records to train on, {} for dev, {} for test; {}\n", sets.train->records, sets.dev->records, sets.test ? sets.test->records : 0,
               task->labels().empty() ? "no classes" : fmt::format("{} labels", task->labels().size()));
  }

  TuningResult result{kind, config, {}};
  for (const int64_t seed : config.train.seeds) {
    SeedRun run(kind, result.config, *task, *tokenizer, sets, seed, world, grid.get());
    run.run(after_epoch);
    SeedResult& r = result.seeds.emplace_back();
    r.seed = seed;
    r.epochs = run.epochs();
    r.best_epoch = run.best_epoch();
    r.dev = run.score_best(*sets.dev, "dev");
    if (sets.test) r.test = run.score_best(*sets.test, "test");
  }
  if (!leads(world)) return result;
  write_file_atomic(fs::path(config.output.dir) / "results.json", results_json(result));
  write_file_atomic(fs::path(config.output.dir) / "report.html", tuning_report(result));
  return result;
}

}  // namespace triax::finetune
