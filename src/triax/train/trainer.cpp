#include "triax/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/log.h"
#include "triax/base/parallel.h"
#include "triax/base/system.h"
#include "triax/base/text.h"
#include "triax/kernels/peak.h"

namespace triax {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double seconds_between(std::chrono::steady_clock::time_point a, std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

double measured_peak(Precision precision) {
  const GemmPeak peak = measure_gemm_peak(Context{}, 0.3);
  return precision == Precision::bf16 && peak.bf16 > 0 ? peak.bf16 : peak.f32;
}

std::string print(RunConfig config) { return ConfigFields(config).print(); }

}  // namespace

Trainer::Trainer(RunConfig config) : config_(std::move(config)) {
  if (config_.train.threads > 0) set_num_threads(static_cast<int>(config_.train.threads));
  config_.resolve();
  outcome_.train_loss = outcome_.validation_loss = kNone;
  open_data();
  config_.model.validate();
  schedule_ = config_.lr_schedule();
  // The peak is measured first: it makes the libraries fill what memory they keep for themselves.
  peak_flops_ = measured_peak(config_.train.precision);
  resident_at_start_ = resident_bytes();
  const auto parameters = static_cast<size_t>(config_.model.num_parameters());
  check_memory_fits({{"weights, gradients, optimizer", 16 * parameters}});  // before asking for any of it
  engine_ = std::make_unique<Engine>(config_.engine());
  check_memory_fits(engine_->memory());
  start_or_resume();
}

Trainer::~Trainer() = default;

std::filesystem::path Trainer::checkpoints() const {
  return std::filesystem::path(config_.output.dir) / "checkpoints";
}

void Trainer::open_data() {
  if (!config_.data.tokenizer.empty()) {
    tokenizer_ = load_tokenizer(config_.data.tokenizer);
    if (config_.model.vocab_size == 0) config_.model.vocab_size = tokenizer_->vocab_size();
    check(tokenizer_->vocab_size() <= config_.model.vocab_size,
          "{} has {} tokens, more than model.vocab_size = {}; set model.vocab_size = 0 to take it from there",
          config_.data.tokenizer, tokenizer_->vocab_size(), config_.model.vocab_size);
  }
  check(config_.eval.prompts.empty() || tokenizer_,
        "eval.prompts needs data.tokenizer, the folder of the vocabulary");
  data_ = std::make_unique<TrainingData>(
      config_, tokenizer_ ? tokenizer_->special_tokens().eod.value_or(-1) : -1);
}

void Trainer::check_memory_fits(const std::vector<MemoryUse>& plan) const {
  size_t total = resident_at_start_;
  for (const MemoryUse& use : plan) total += use.bytes;
  const size_t limit = memory_limit_bytes();
  if (limit == 0 || total <= limit) return;
  fail("this run needs {} and the machine has {}:\n{}lower train.micro_batch_size (now {}), or set "
       "train.recompute to selective or full (now {})",
       format_bytes(static_cast<double>(total)), format_bytes(static_cast<double>(limit)),
       format_memory_table(plan), config_.train.micro_batch_size,
       config_.train.recompute == Recompute::full        ? "full"
       : config_.train.recompute == Recompute::selective ? "selective"
                                                         : "none");
}

void Trainer::start_or_resume() {
  Parameters& parameters = engine_->model().parameters();
  const auto newest = config_.checkpoint.resume ? newest_whole_checkpoint(checkpoints()) : std::nullopt;
  if (newest) {
    const CheckpointReader reader(newest->path);
    state_ = train_state_from_json(reader.state(), newest->path);
    load_checkpoint(reader, engine_->context(), parameters, &engine_->optimizer());
    engine_->optimizer().set_steps_done(state_.step);
    last_saved_ = state_.step;
    log_info("resuming {} at step {} of {}", newest->path.string(), state_.step, config_.train.steps);
  } else if (!config_.checkpoint.load.empty()) {
    const CheckpointReader reader(config_.checkpoint.load);
    load_checkpoint(reader, engine_->context(), parameters, nullptr);
    log_info("starting from the weights of {}", config_.checkpoint.load);
  } else {
    engine_->initialize();
  }
}

void Trainer::start_recording() {
  Facts facts = machine_facts();
  facts.emplace_back("parameters", std::to_string(config_.model.num_parameters()));
  facts.emplace_back("measured peak", format_rate(peak_flops_) + "FLOP/s");
  recorder_ = std::make_unique<RunRecorder>(RunDirectory{config_.output.dir}, state_.step, print(config_),
                                            facts, Console::standard_output());
  Console& console = recorder_->console();
  console.note(fmt::format("{}: GPT of {} parameters ({} layers, hidden {}, {} heads, vocabulary {})",
                           config_.output.dir, format_count(static_cast<double>(config_.model.num_parameters())),
                           config_.model.num_layers, config_.model.hidden_size, config_.model.num_heads,
                           config_.model.vocab_size));
  console.note(data_->summary());
  console.note(fmt::format("{} threads, measured peak {}FLOP/s", num_threads(), format_rate(peak_flops_)));
  std::vector<MemoryUse> rows = {{"program, libraries, data", resident_at_start_}};
  for (MemoryUse& use : engine_->memory()) rows.push_back(std::move(use));
  recorder_->memory(std::move(rows));
}

TrainOutcome Trainer::run() {
  start_recording();
  std::string reason;
  while (state_.step < config_.train.steps && !should_stop(reason)) {
    train_one_step();
    if (due(config_.eval.interval)) validate();
    if (due(config_.eval.sample_interval)) write_samples();
    if (due(config_.checkpoint.interval)) save();
  }
  outcome_.step = state_.step;
  outcome_.finished = state_.step >= config_.train.steps;
  if (outcome_.finished) {
    if (last_validated_ != state_.step) validate();
    if (last_sampled_ != state_.step) write_samples();
  } else {
    recorder_->console().note(fmt::format("stopping at step {}: {}", state_.step, reason));
  }
  if (last_saved_ != state_.step && (config_.checkpoint.save_at_end || !outcome_.finished)) save();
  recorder_->finish();
  return outcome_;
}

bool Trainer::should_stop(std::string& reason) const {
  if (stop_.received() != 0) {
    reason = fmt::format("received signal {}", stop_.received());
    return true;
  }
  const double limit = config_.train.time_limit_minutes * 60;
  if (limit > 0 && seconds_between(started_, Clock::now()) >= limit) {
    reason = fmt::format("train.time_limit_minutes = {} is over", config_.train.time_limit_minutes);
    return true;
  }
  return false;
}

void Trainer::train_one_step() {
  const auto begin = Clock::now();
  const int64_t batch_size = config_.batch_size_at(state_.consumed_samples);
  const int64_t micro = config_.train.micro_batch_size;
  batches_.resize(static_cast<size_t>(batch_size / micro));
  for (size_t i = 0; i < batches_.size(); ++i) {
    const int64_t first = static_cast<int64_t>(i) * micro;
    data_->train_batch(state_.consumed_samples + first, micro, first, batches_[i]);
  }
  const double rate = schedule_.at(state_.step + 1);
  const StepResult result = engine_->train_step(state_.step + 1, rate, batches_);
  ++state_.step;
  state_.consumed_samples += batch_size;
  const int64_t tokens = batch_size * config_.train.sequence_length;
  state_.consumed_tokens += tokens;
  outcome_.train_loss = result.loss;
  if (state_.step % config_.output.log_interval != 0 && state_.step != config_.train.steps) return;

  StepMetrics metrics;
  metrics.step = state_.step;
  metrics.total_steps = config_.train.steps;
  metrics.loss = result.loss;
  metrics.learning_rate = rate;
  metrics.gradient_norm = result.gradient_norm;
  metrics.step_seconds = seconds_between(begin, Clock::now());
  metrics.tokens_per_second = static_cast<double>(tokens) / metrics.step_seconds;
  metrics.model_flops_per_second =
      metrics.tokens_per_second * config_.model.needed_flops_per_token(config_.train.sequence_length);
  metrics.mfu = metrics.model_flops_per_second / peak_flops_;
  metrics.consumed_tokens = state_.consumed_tokens;
  recorder_->step(metrics);
}

void Trainer::validate() {
  last_validated_ = state_.step;
  const int64_t micro = config_.train.micro_batch_size;
  const int64_t wanted = config_.eval.batches * config_.train.global_batch_size;
  const int64_t samples = std::min(wanted, data_->validation_samples()) / micro * micro;
  if (samples == 0) return;
  const auto begin = Clock::now();
  std::vector<TokenBatch> batches(static_cast<size_t>(samples / micro));
  for (size_t i = 0; i < batches.size(); ++i)
    data_->validation_batch(static_cast<int64_t>(i) * micro, micro, batches[i]);
  ValidationMetrics metrics;
  metrics.step = state_.step;
  metrics.total_steps = config_.train.steps;
  metrics.loss = outcome_.validation_loss = engine_->evaluate(batches);
  metrics.tokens = samples * config_.train.sequence_length;
  metrics.seconds = seconds_between(begin, Clock::now());
  metrics.consumed_tokens = state_.consumed_tokens;
  recorder_->validation(metrics);
}

void Trainer::write_samples() {
  last_sampled_ = state_.step;
  if (config_.eval.prompts.empty()) return;
  GenerateOptions options;
  options.sampling.temperature = config_.eval.temperature;
  options.sampling.top_k = config_.eval.top_k;
  options.max_tokens = config_.eval.sample_tokens;
  options.seed = static_cast<uint64_t>(config_.train.seed);
  const Generator generator(engine_->model(), *tokenizer_);
  const std::vector<Generation> made = generator.generate(config_.eval.prompts, options);
  for (size_t i = 0; i < made.size(); ++i)
    recorder_->sample({.step = state_.step, .prompt = config_.eval.prompts[i], .text = made[i].text});
}

void Trainer::save() {
  const auto begin = Clock::now();
  last_saved_ = state_.step;
  state_.config = print(config_);
  state_.tokenizer = config_.data.tokenizer;
  const std::vector<TensorPiece> pieces =
      checkpoint_pieces(engine_->model().parameters(), &engine_->optimizer());
  save_checkpoint({.root = checkpoints(), .step = state_.step}, pieces, to_json(state_));
  if (config_.checkpoint.keep > 0)
    prune_checkpoints(checkpoints(), {.last = static_cast<int>(config_.checkpoint.keep)});
  double bytes = 0;
  for (const TensorPiece& piece : pieces) bytes += static_cast<double>(piece.data.bytes());
  recorder_->console().note(fmt::format("checkpoint {} ({}, {:.1f}s)",
                                        checkpoint_path(checkpoints(), state_.step).string(),
                                        format_bytes(bytes), seconds_between(begin, Clock::now())));
}

}  // namespace triax
