#include "triax/finetune/tuner.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/log.h"
#include "triax/base/progress.h"
#include "triax/base/rng.h"
#include "triax/base/text.h"
#include "triax/checkpoint/safetensors.h"
#include "triax/finetune/model_folder.h"
#include "triax/finetune/step.h"

namespace triax::finetune {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

void tell(const TaskSet& set, const std::string& path) {
  for (const std::string& note : set.notes) log_info("{}", note);
  tasks::warn_left_out(set.bad, path);
}

// The first example of every group, in a random order of the seed; at most `limit` records of it.
std::vector<size_t> training_order(const TaskSet& set, int64_t limit, uint64_t seed, uint64_t stream) {
  std::vector<size_t> firsts;
  for (size_t i = 0; i < set.examples.size(); ++i)
    if (set.examples[i].group > 0) firsts.push_back(i);
  Philox random(seed, stream);
  for (size_t i = firsts.size(); i > 1; --i) std::swap(firsts[i - 1], firsts[random.next_below(i)]);
  if (limit > 0 && limit < static_cast<int64_t>(firsts.size())) firsts.resize(static_cast<size_t>(limit));
  return firsts;
}

// What an interrupted run needs besides the weights.
struct State {
  int64_t epoch = 0, step = 0, tokens = 0, best_epoch = 0, bad_epochs = 0;
  double best = 0;
  bool done = false;
  std::vector<EpochRecord> epochs;
};

Json json_of(const State& s, const std::string& config) {
  Json epochs = Json::array();
  for (const EpochRecord& e : s.epochs)
    epochs.push_back({{"epoch", e.epoch}, {"loss", e.loss}, {"dev", e.dev}, {"seconds", e.seconds}, {"tokens_per_second", e.tokens_per_second}});
  return {{"config", config}, {"epoch", s.epoch}, {"step", s.step}, {"tokens", s.tokens}, {"best_epoch", s.best_epoch},
          {"bad_epochs", s.bad_epochs}, {"best", s.best}, {"done", s.done}, {"epochs", epochs}};
}

State state_from(const Json& json) {
  State s{json["epoch"].integer(), json["step"].integer(), json["tokens"].integer(), json["best_epoch"].integer(), json["bad_epochs"].integer(),
          json["best"].number(), json["done"].boolean(), {}};
  for (const Json& e : json["epochs"])
    s.epochs.push_back({e["epoch"].integer(), e["loss"].number(), e["dev"].number(), e["seconds"].number(), e["tokens_per_second"].number()});
  return s;
}

// What a run's results hang on: all but where they go and how much is computed at a time.
std::string identity(TaskKind kind, FinetuneConfig config) {
  config.output.dir.clear();
  config.train.seeds = {};
  config.train.micro_batch_tokens = 4096;
  return std::string(task_name(kind)) + "\n" + ConfigFields(config).print();
}

class SeedRun {
 public:
  SeedRun(TaskKind kind, const FinetuneConfig& config, const Task& task, const Tokenizer& tokenizer, const TaskSet& train, const TaskSet& dev, int64_t seed)
      : kind_(kind), config_(config), task_(task), tokenizer_(tokenizer), train_(train), dev_(dev), seed_(seed),
        folder_(fs::path(config.output.dir) / fmt::format("seed-{}", seed)), identity_(identity(kind, config)) {}

  std::vector<EpochRecord> run(const std::function<void(int64_t)>& after_epoch) {
    fs::create_directories(folder_);
    load_state();
    if (state_.done) {
      log_info("seed {}: is done already", seed_);
      return state_.epochs;
    }
    prepare();
    while (state_.epoch < config_.train.epochs && !gave_up()) {
      one_epoch();
      if (after_epoch) after_epoch(state_.epoch);
    }
    state_.done = true;
    write_file_atomic(folder_ / "state.json", json_of(state_, identity_).dump(1) + "\n");
    fs::remove(weights_file(state_.epoch));
    return state_.epochs;
  }
  int64_t best_epoch() const { return state_.best_epoch; }
  fs::path best() const { return folder_ / "best"; }

 private:
  bool gave_up() const { return config_.train.patience > 0 && state_.bad_epochs >= config_.train.patience; }
  fs::path weights_file(int64_t epoch) const { return folder_ / fmt::format("epoch-{}.safetensors", epoch); }

  void load_state() {
    const fs::path file = folder_ / "state.json";
    if (!fs::exists(file)) return;
    const Json json = Json::parse_or_null(read_file(file));
    check(json.is_object() && json.contains("config"), "{}: is damaged; remove {} to begin anew", file.string(), folder_.string());
    check(json["config"] == identity_, "{}: belongs to a run with another configuration; choose another output.dir, or remove {}", file.string(), folder_.string());
    state_ = state_from(json);
  }

  void prepare() {
    std::vector<std::string> fresh;
    model_ = load_for_tuning(config_.model.path, task_, static_cast<uint64_t>(seed_), fresh);
    if (!fresh.empty()) log_debug("seed {}: {} tensors of the head are new", seed_, fresh.size());
    const AdamWConfig adamw{.beta1 = 0.9, .beta2 = config_.train.beta2, .epsilon = 1e-8, .weight_decay = config_.train.weight_decay};
    optimizer_ = std::make_unique<Optimizer>(model_->parameters(), adamw);
    weights_ = class_weights(train_.examples, std::max<int64_t>(model_->head().num_labels, 1), config_.train.class_weights);
    // The same records for every seed; their order is the seed's.
    chosen_ = training_order(train_, config_.data.train_limit, 0, 0);
    std::sort(chosen_.begin(), chosen_.end());
    steps_per_epoch_ = (static_cast<int64_t>(chosen_.size()) + config_.train.batch_size - 1) / config_.train.batch_size;
    const int64_t total = steps_per_epoch_ * config_.train.epochs;
    schedule_ = {.decay = config_.train.decay, .peak = config_.train.learning_rate, .minimum = 0,
                 .warmup_steps = static_cast<int64_t>(std::llround(config_.train.warmup * static_cast<double>(total))), .decay_steps = total};
    head_schedule_ = schedule_;
    if (config_.train.head_learning_rate > 0) head_schedule_.peak = config_.train.head_learning_rate;
    if (state_.epoch > 0) {
      load_weights();
      log_info("seed {}: goes on after epoch {}", seed_, state_.epoch);
    }
  }

  // Weights and moments, under their file's names.
  template <typename Body>
  void for_each_buffer(Body&& body) const {
    const int64_t size = model_->parameters().table().flat_size();
    body("weights", model_->parameters().master_at(0, size));
    body("moment1", optimizer_->moment1_at(0, size));
    body("moment2", optimizer_->moment2_at(0, size));
  }

  void save_state() const {
    std::vector<SafetensorsSpec> specs;
    std::map<std::string, Tensor> tensors;
    for_each_buffer([&](const char* name, const Tensor& t) { specs.push_back({name, DType::f32, t.shape()}), tensors[name] = t; });
    SafetensorsWriter file(weights_file(state_.epoch), std::move(specs));
    for (const SafetensorsSpec& spec : file.order()) file.write(tensors.at(spec.name).raw(), tensors.at(spec.name).bytes());
    file.commit();
    write_file_atomic(folder_ / "state.json", json_of(state_, identity_).dump(1) + "\n");
    fs::remove(weights_file(state_.epoch - 1));
  }

  void load_weights() {
    const SafetensorsFile file(weights_file(state_.epoch));
    for_each_buffer([&](const char* name, const Tensor& t) { file.read(file.get(name), t); });
    model_->parameters().refresh_copies({});
    optimizer_->set_steps_done(state_.step);
  }

  void one_epoch() {
    const auto begin = Clock::now();
    const int64_t epoch = state_.epoch + 1, tokens_before = state_.tokens;
    std::vector<size_t> order = chosen_;
    Philox random(static_cast<uint64_t>(seed_), static_cast<uint64_t>(epoch));
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.next_below(i)]);
    double loss = 0;
    {
      Progress progress(fmt::format("seed {}, epoch {}/{}", seed_, epoch, config_.train.epochs), order.size(), {.unit = "examples"});
      for (size_t at = 0; at < order.size();) {
        const size_t count = std::min(order.size() - at, static_cast<size_t>(config_.train.batch_size));
        const double step_loss = step({order.data() + at, count});
        loss += step_loss;
        at += count;
        progress.add(count);
        progress.note(fmt::format("loss {:.4f}", step_loss));
      }
    }
    const double train_seconds = seconds_since(begin);
    const Score dev = evaluate(dev_);
    const bool better = state_.best_epoch == 0 || dev.value > state_.best;
    state_.epoch = epoch;
    state_.epochs.push_back({epoch, loss / static_cast<double>(steps_per_epoch_), dev.value, seconds_since(begin),
                             static_cast<double>(state_.tokens - tokens_before) / train_seconds});
    if (better) {
      state_.best = dev.value, state_.best_epoch = epoch, state_.bad_epochs = 0;
      write_tuned_model(best(), *model_, task_, tokenizer_, kind_, config_);
    } else {
      ++state_.bad_epochs;
    }
    save_state();
    fmt::print("seed {}  epoch {:>2}  loss {:.4f}  dev {} {:.2f}{}  {:.0f} tokens/s  {}\n", seed_, epoch, state_.epochs.back().loss, dev.metric, dev.value,
               better ? " *" : "  ", state_.epochs.back().tokens_per_second, format_duration(state_.epochs.back().seconds));
    std::fflush(stdout);
  }

  double step(std::span<const size_t> firsts) {
    ++state_.step;
    TokenLayout layout;
    layout.seed = static_cast<uint64_t>(seed_);
    layout.step = static_cast<uint32_t>(state_.step);
    const StepSettings settings{.learning_rate = schedule_.at(state_.step),
                                .head_learning_rate = head_schedule_.at(state_.step),
                                .clip_gradient = config_.train.clip_gradient,
                                .micro_batch_tokens = config_.train.micro_batch_tokens};
    const double loss = tuning_step(*model_, *optimizer_, train_.examples, firsts, weights_, settings, layout, memory_);
    for (const size_t first : firsts)
      for (int64_t j = 0; j < train_.examples[first].group; ++j) state_.tokens += static_cast<int64_t>(train_.examples[first + static_cast<size_t>(j)].ids.size());
    return loss;
  }

  Score evaluate(const TaskSet& set) {
    Progress progress("dev", set.examples.size(), {.unit = "examples"});
    return task_.score(set, predict_all(*model_, set.examples, config_.train.micro_batch_tokens, memory_, [&](uint64_t done) { progress.update(done); }));
  }

  TaskKind kind_;
  const FinetuneConfig& config_;
  const Task& task_;
  const Tokenizer& tokenizer_;
  const TaskSet &train_, &dev_;
  int64_t seed_;
  fs::path folder_;
  std::string identity_;
  State state_;
  std::unique_ptr<Bert> model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::vector<float> weights_;
  std::vector<size_t> chosen_;
  int64_t steps_per_epoch_ = 0;
  LrSchedule schedule_, head_schedule_;
  BatchMemory memory_;
};

// The best checkpoint on a set; its predictions are written beside it.
Score score_best(const fs::path& best, const TaskSet& set, const std::string& name, int64_t tokens) {
  const TunedModel tuned = load_tuned_model(best);
  BatchMemory memory;
  Progress progress(name, set.examples.size(), {.unit = "examples"});
  const auto logits = predict_all(*tuned.model, set.examples, tokens, memory, [&](uint64_t done) { progress.update(done); });
  const fs::path folder = best.parent_path();
  write_file_atomic(folder / (name + ".jsonl"), tuned.task->predictions(set, logits));
  const auto [file, text] = tuned.task->official_predictions(set, logits);
  write_file_atomic(folder / (name + "-" + file), text);
  Score score = tuned.task->score(set, logits);
  std::stable_sort(score.mistakes.begin(), score.mistakes.end(), [](const Mistake& a, const Mistake& b) { return a.confidence > b.confidence; });
  return score;
}

void check_config(const FinetuneConfig& c) {
  check(!c.model.path.empty(), "model.path is empty: name the folder of a BERT");
  check(!c.data.train.empty() && !c.data.dev.empty(), "data.train and data.dev are both needed: one to train on, one to choose the best checkpoint by");
  check(!c.output.dir.empty(), "output.dir is empty: name a folder for the results");
  check(!c.train.seeds.empty(), "train.seeds is empty: at least one run is needed");
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

TuningResult run_tuning(TaskKind kind, const FinetuneConfig& config, const std::function<void(int64_t)>& after_epoch) {
  check_config(config);
  const auto tokenizer = load_tokenizer(vocabulary_of(config.model.path));
  const auto task = make_task({kind, config.model, config.data, config.task}, *tokenizer, {});
  const auto train = task->read(config.data.train, true), dev = task->read(config.data.dev, true);
  tell(*train, config.data.train);
  tell(*dev, config.data.dev);
  std::unique_ptr<TaskSet> test;
  if (!config.data.test.empty()) test = task->read(config.data.test, true), tell(*test, config.data.test);
  check(!train->examples.empty(), "{}: there is nothing to train on", config.data.train);
  fmt::print("{} records to train on, {} for dev, {} for test; {}\n", train->records, dev->records, test ? test->records : 0,
             task->labels().empty() ? "no classes" : fmt::format("{} labels", task->labels().size()));

  TuningResult result{kind, config, {}};
  for (const int64_t seed : config.train.seeds) {
    SeedRun run(kind, result.config, *task, *tokenizer, *train, *dev, seed);
    SeedResult& r = result.seeds.emplace_back();
    r.seed = seed;
    r.epochs = run.run(after_epoch);
    r.best_epoch = run.best_epoch();
    r.dev = score_best(run.best(), *dev, "dev", config.train.micro_batch_tokens);
    if (test) r.test = score_best(run.best(), *test, "test", config.train.micro_batch_tokens);
  }
  write_file_atomic(fs::path(config.output.dir) / "results.json", results_json(result));
  write_file_atomic(fs::path(config.output.dir) / "report.html", tuning_report(result));
  return result;
}

}  // namespace triax::finetune
