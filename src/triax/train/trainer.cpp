#include "triax/train/trainer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/ranges.h>

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/hash.h"
#include "triax/base/log.h"
#include "triax/base/parallel.h"
#include "triax/base/system.h"
#include "triax/base/text.h"
#include "triax/kernels/peak.h"
#include "triax/tensor/device.h"
#include "triax/train/memory_limit.h"

namespace triax {
namespace {

constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

double seconds_between(std::chrono::steady_clock::time_point a, std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

double measured_peak(const Context& context, Precision precision) {
  const GemmPeak peak = measure_gemm_peak(context, 0.3);
  const bool half = compute_type(precision) == DType::bf16 || (precision == Precision::fp16 && context.queue);
  return half && peak.bf16 > 0 ? peak.bf16 : peak.f32;
}

std::string print(RunConfig config) { return ConfigFields(config).print(); }

// What a BERT's loss is the sum of.
std::vector<std::pair<std::string, double>> parts_of(const StageLoss& loss, const ModelConfig& model) {
  if (!model.is_bert()) return {};
  return {{"lm_loss", loss.tokens}, {"order_loss", loss.order}};
}

// Of the program that runs.
std::string program_hash() {
  const MappedFile file("/proc/self/exe");
  return fmt::format("{:016x}", hash64(file.text()));
}

}  // namespace

Trainer::Trainer(RunConfig config, World* world) : config_(std::move(config)) {
  if (config_.train.threads > 0) set_num_threads(static_cast<int>(config_.train.threads));
  const int ranks = world ? world->size() : 1;
  config_.resolve(ranks);
  if (ranks > 1) grid_ = std::make_unique<ProcessGrid>(*world, config_.engine().parallel.grid);
  check(!config_.parallel.nccl || config_.train.device == Device::Kind::cuda,
        "parallel.nccl = true needs train.device = \"cuda\"");
  if (grid_ && config_.parallel.nccl) grid_->use_nccl(device_of_rank(config_.train.device, world->local_rank()));
  require_same_run();
  outcome_.train_loss = outcome_.validation_loss = outcome_.validation_perplexity = kNotMeasured;
  open_data();
  triax::validate(config_.engine());
  schedule_ = config_.lr_schedule();
  // The peak is measured first: it makes the libraries fill what memory they keep for themselves.
  {
    const std::unique_ptr<DeviceQueue> queue =
        make_queue(config_.engine().device, "train.device = \"cuda\"", "train.device = \"cpu\"");
    if (queue) queue->tf32 = config_.train.precision == Precision::tf32;
    peak_flops_ = sum_over_ranks(measured_peak(queue ? queue->context() : Context{}, config_.train.precision));
  }
  resident_at_start_ = resident_bytes();
  require_memory(plan_memory(config_.engine(), grid_ ? grid_->at() : GridCoordinates{}),
                 config_.engine().device, resident_at_start_, world,
                 fmt::format("lower train.micro_batch_size (now {}), or set train.recompute to selective or full (now {})",
                             config_.train.micro_batch_size, name_of(config_.train.recompute)));
  trace_ = std::make_unique<RunTrace>(grid_.get(), parse_step_range(config_.output.trace));
  engine_ = std::make_unique<Engine>(config_.engine(), grid_.get());
  engine_->set_trace(trace_->trace());
  sensors_ = open_gpu_sensors(engine_->context().device);
  engine_->set_before_update([this] {
    const auto begin = Clock::now();
    background_.wait_until_copied();
    held_up_ += seconds_between(begin, Clock::now());
  });
  start_or_resume();
}

Trainer::~Trainer() = default;

void Trainer::barrier() const {
  if (grid_) grid_->world().communicator().barrier();
}

double Trainer::sum_over_ranks(double value) const {
  if (grid_) grid_->world().communicator().all_reduce({&value, {1}, DType::f64});
  return value;
}

double Trainer::largest_of_ranks(double value) const {
  if (grid_) grid_->world().communicator().all_reduce({&value, {1}, DType::f64}, ReduceOp::max);
  return value;
}

std::filesystem::path Trainer::checkpoints() const {
  return std::filesystem::path(config_.output.dir) / "checkpoints";
}

void Trainer::require_same_run() const {
  if (!grid_) return;
  const std::vector<Fingerprint> fingerprints = {{"program", program_hash()},
                                                 {"seed", std::to_string(config_.train.seed)},
                                                 {"configuration", fmt::format("{:016x}", hash64(print(config_)))}};
  grid_->world().require_same(fingerprints);
}

void Trainer::open_data() {
  if (!config_.data.tokenizer.empty()) {
    tokenizer_ = load_tokenizer(config_.data.tokenizer);
    if (config_.model.vocab_size == 0) config_.model.vocab_size = tokenizer_->vocab_size();
    check(tokenizer_->vocab_size() <= config_.model.vocab_size,
          "{} has {} tokens, more than model.vocab_size = {}; set model.vocab_size = 0 to take it from there",
          config_.data.tokenizer, tokenizer_->vocab_size(), config_.model.vocab_size);
  }
  check(config_.eval.prompts.empty() || !config_.model.is_bert(),
        "eval.prompts: a BERT (model.kind) does not write text; leave eval.prompts empty");
  check(config_.eval.prompts.empty() || tokenizer_,
        "eval.prompts needs data.tokenizer, the folder of the vocabulary");
  // Sample indexes are built and cached by one rank of each host; the others find them.
  const bool builds = !grid_ || grid_->world().local_rank() == 0;
  if (builds) load_data();
  barrier();
  if (!builds) load_data();
}

void Trainer::load_data() {
  data_ = std::make_unique<TrainingData>(config_, tokenizer_.get());
}

void Trainer::start_or_resume() {
  // What one rank sees of the file system goes for all.
  double newest_step = -1;
  if (first_rank() && config_.checkpoint.resume)
    if (const auto newest = newest_whole_checkpoint(checkpoints())) newest_step = static_cast<double>(newest->step);
  newest_step = largest_of_ranks(newest_step);
  if (newest_step >= 0) {
    const CheckpointReader reader(checkpoint_path(checkpoints(), static_cast<int64_t>(newest_step)));
    state_ = train_state_from_json(reader.state(), reader.path());
    engine_->set_steps_done(state_.step - state_.loss_scale.skipped_steps);
    load_checkpoint(reader, *engine_, true);
    engine_->loss_scaler().resume(state_.loss_scale);
    last_saved_ = state_.step;
    if (first_rank()) log_info("resuming {} at step {} of {}", reader.path().string(), state_.step, config_.train.steps);
  } else if (!config_.checkpoint.load.empty()) {
    const CheckpointReader reader(resolve_checkpoint(config_.checkpoint.load));
    load_checkpoint(reader, *engine_, false);
    if (first_rank()) log_info("starting from the weights of {}", config_.checkpoint.load);
  } else {
    engine_->initialize();
  }
}

void Trainer::start_recording() {
  if (first_rank()) start_recorder();
  barrier();
}

void Trainer::start_recorder() {
  Facts facts = machine_facts();
  facts.emplace_back("parameters", std::to_string(config_.model.num_parameters()));
  facts.emplace_back("measured peak", format_rate(peak_flops_) + "FLOP/s");
  if (grid_) facts.emplace_back("grid", config_.parallel.describe());
  recorder_ = std::make_unique<RunRecorder>(RunDirectory{config_.output.dir}, state_.step, print(config_),
                                            facts, Console::standard_output(), config_.output.tensorboard);
  Console& console = recorder_->console();
  console.note(fmt::format("{}: {} of {} parameters ({} layers, hidden {}, {} heads, vocabulary {})",
                           config_.output.dir, config_.model.is_bert() ? "BERT" : "GPT", format_count(static_cast<double>(config_.model.num_parameters())),
                           config_.model.num_layers, config_.model.hidden_size, config_.model.num_heads,
                           config_.model.vocab_size));
  if (grid_) console.note(config_.parallel.describe());
  if (engine_->plan().stage_layers.size() > 1)
    console.note(fmt::format("layers of the {} stages: {}; the last one has the head", engine_->plan().stage_layers.size(),
                             fmt::join(engine_->plan().stage_layers, ", ")));
  console.note(data_->summary());
  console.note(fmt::format("{} threads{}, measured peak {}FLOP/s", num_threads(), grid_ ? " a rank" : "",
                           format_rate(peak_flops_)));
  std::vector<MemoryUse> rows = {{"program, libraries, data", resident_at_start_}};
  for (MemoryUse& use : memory_plan()) rows.push_back(std::move(use));
  recorder_->memory(std::move(rows));
}

std::vector<MemoryUse> Trainer::memory_plan() {
  std::vector<MemoryUse> rows = engine_->memory();
  if (first_rank() && !config_.eval.prompts.empty() && !engine_->holds_whole_model()) {
    // The weights as they are read from the disk, and a model made of them.
    ParameterTable table = declare_stage(config_.model, whole_gpt(config_.model, DType::f32).part, 0, 1).table;
    table.lay_out(1);
    size_t bytes = sizeof(float) * static_cast<size_t>(table.num_parameters());
    for (const MemoryUse& use : Parameters::memory(table, config_.engine().compute_type(), false, {})) bytes += use.bytes;
    rows.push_back({"whole model for samples", bytes});
  }
  if (config_.checkpoint.background)
    rows.push_back({"checkpoint being written", BackgroundSave::staging_bytes(checkpoint_pieces(*engine_, true))});
  return rows;
}

TrainOutcome Trainer::run() {
  start_recording();
  std::string reason;
  while (state_.step < config_.train.steps && !should_stop(reason)) {
    train_one_step();
    if (due(config_.eval.interval)) validate();
    if (due(config_.eval.sample_interval)) write_samples();
    if (due(config_.checkpoint.interval)) save();
    finish_background_save(false);
  }
  outcome_.step = state_.step;
  outcome_.finished = state_.step >= config_.train.steps;
  if (outcome_.finished) {
    if (last_validated_ != state_.step) validate();
    if (last_sampled_ != state_.step) write_samples();
  } else {
    if (first_rank()) recorder_->console().note(fmt::format("stopping at step {}: {}", state_.step, reason));
  }
  if (last_saved_ != state_.step && (config_.checkpoint.save_at_end || !outcome_.finished)) save();
  finish_background_save(true);
  finish_recording();
  return outcome_;
}

bool Trainer::should_stop(std::string& reason) const {
  // A signal may reach some ranks only, and clocks differ: what one has seen goes for all.
  const double limit = config_.train.time_limit_minutes * 60;
  const bool late = limit > 0 && seconds_between(started_, Clock::now()) >= limit;
  std::array<double, 2> seen = {static_cast<double>(stop_.received()), late ? 1.0 : 0.0};
  if (grid_) grid_->world().communicator().all_reduce({seen.data(), {2}, DType::f64}, ReduceOp::max);
  if (seen[0] != 0) reason = fmt::format("received signal {}", seen[0]);
  else if (seen[1] != 0) reason = fmt::format("train.time_limit_minutes = {} is over", config_.train.time_limit_minutes);
  return !reason.empty();
}

void Trainer::train_one_step() {
  const auto begin = Clock::now();
  const int64_t batch_size = config_.batch_size_at(state_.consumed_samples);
  const int64_t micro = config_.train.micro_batch_size, replicas = config_.parallel.data_parallel;
  batches_.resize(static_cast<size_t>(batch_size / config_.samples_at_a_time()));
  for (size_t i = 0; i < batches_.size(); ++i) {
    const int64_t first = (static_cast<int64_t>(i) * replicas + engine_->at().data) * micro;
    data_->train_batch(state_.consumed_samples + first, micro, first, batches_[i]);
  }
  const double rate = schedule_.at(engine_->steps_done() + 1);  // a skipped step is not one of the warm-up
  trace_->begin_step(state_.step + 1);
  const StepResult result = engine_->train_step(state_.step + 1, rate, batches_);
  ++state_.step;
  state_.loss_scale = engine_->loss_scaler().state();
  const double seconds = seconds_between(begin, Clock::now());
  trace_->end_step(*engine_, state_.step, static_cast<int64_t>(batches_.size()), seconds);
  state_.consumed_samples += batch_size;
  state_.consumed_tokens += result.tokens;
  outcome_.train_loss = result.loss;
  if (state_.step % config_.output.log_interval != 0 && state_.step != config_.train.steps && !result.skipped) return;
  if (first_rank()) record_step(result, rate, seconds);
}

void Trainer::record_step(const StepResult& result, double rate, double seconds) {
  StepMetrics metrics;
  metrics.step = state_.step;
  metrics.total_steps = config_.train.steps;
  metrics.loss = result.loss;
  metrics.learning_rate = rate;
  metrics.gradient_norm = result.gradient_norm;
  metrics.loss_scale = result.loss_scale;
  metrics.skipped = result.skipped;
  metrics.step_seconds = seconds;
  metrics.tokens_per_second = static_cast<double>(result.tokens) / seconds;
  metrics.model_flops_per_second =
      metrics.tokens_per_second * config_.model.needed_flops_per_token(config_.train.sequence_length);
  metrics.mfu = metrics.model_flops_per_second / peak_flops_;
  metrics.consumed_tokens = state_.consumed_tokens;
  metrics.extra = parts_of(result.parts, config_.model);
  if (sensors_) metrics.gpu = sensors_->read();
  recorder_->step(metrics);
}

// Which samples are taken does not depend on the grid: where they do not fill every data-parallel rank, some
// work on a batch that does not count.
void Trainer::validate() {
  last_validated_ = state_.step;
  const int64_t micro = config_.train.micro_batch_size, replicas = config_.parallel.data_parallel;
  const int64_t wanted = config_.eval.batches * config_.train.global_batch_size;
  const int64_t count = std::min(wanted, data_->validation_samples()) / micro;
  if (count == 0) return;
  const auto begin = Clock::now();
  std::vector<TokenBatch> batches(static_cast<size_t>((count + replicas - 1) / replicas));
  for (size_t i = 0; i < batches.size(); ++i) {
    const int64_t number = static_cast<int64_t>(i) * replicas + engine_->at().data;
    data_->validation_batch(number < count ? number * micro : 0, micro, batches[i]);
    if (number < count) continue;
    std::ranges::fill(batches[i].loss_mask, 0.0f);
    std::ranges::fill(batches[i].order_mask, 0.0f);
  }
  ValidationMetrics metrics;
  metrics.step = state_.step;
  metrics.total_steps = config_.train.steps;
  const StepResult result = engine_->evaluate(batches);
  metrics.loss = outcome_.validation_loss = result.loss;
  metrics.extra = parts_of(result.parts, config_.model);
  outcome_.validation_perplexity = metrics.perplexity();
  metrics.tokens = result.tokens;
  metrics.seconds = seconds_between(begin, Clock::now());
  metrics.consumed_tokens = state_.consumed_tokens;
  if (first_rank()) recorder_->validation(metrics);
}

// The first rank writes them, with a whole model: its own, or one that it reads from what all ranks put on the
// disk for it.
void Trainer::write_samples() {
  last_sampled_ = state_.step;
  if (config_.eval.prompts.empty()) return;
  if (engine_->holds_whole_model()) {
    engine_->settle();
    if (first_rank()) generate_samples(dynamic_cast<const Gpt&>(engine_->model()), engine_->context());
    barrier();
    return;
  }
  const CheckpointTarget target{.root = std::filesystem::path(config_.output.dir) / "samples.tmp", .step = state_.step,
                                .rank = grid_ ? grid_->world().rank() : 0, .num_ranks = num_ranks()};
  if (first_rank()) prepare_checkpoint(target);
  barrier();
  write_checkpoint_pieces(target, checkpoint_pieces(*engine_, false));
  barrier();
  if (first_rank()) {
    publish_checkpoint(target, to_json(state_));
    Gpt model(whole_gpt(config_.model, config_.engine().compute_type()), false);
    load_checkpoint(CheckpointReader(checkpoint_path(target.root, target.step)), Context{}, model.parameters());
    std::filesystem::remove_all(target.root);
    generate_samples(model, {});
  }
  barrier();
}

void Trainer::generate_samples(const Gpt& model, const Context& context) {
  GenerateOptions options;
  options.sampling.temperature = config_.eval.temperature;
  options.sampling.top_k = config_.eval.top_k;
  options.max_tokens = config_.eval.sample_tokens;
  options.seed = static_cast<uint64_t>(config_.train.seed);
  const Generator generator(model, *tokenizer_, context);
  const std::vector<Generation> made = generator.generate(config_.eval.prompts, options);
  for (size_t i = 0; i < made.size(); ++i)
    recorder_->sample({.step = state_.step, .prompt = config_.eval.prompts[i], .text = made[i].text});
}

// ---- checkpoints

void Trainer::save() {
  const auto begin = Clock::now();
  finish_background_save(true);
  last_saved_ = state_.step;
  state_.config = print(config_);
  state_.tokenizer = config_.data.tokenizer;
  const CheckpointTarget target{.root = checkpoints(), .step = state_.step,
                                .rank = grid_ ? grid_->world().rank() : 0, .num_ranks = num_ranks()};
  const std::vector<TensorPiece> pieces = checkpoint_pieces(*engine_, true);
  if (first_rank()) prepare_checkpoint(target);
  barrier();
  background_state_ = to_json(state_);
  background_step_ = state_.step;
  background_started_ = begin;
  if (config_.checkpoint.background) {
    background_.start(target, pieces);
    held_up_ = seconds_between(begin, Clock::now());
    return;
  }
  write_checkpoint_pieces(target, pieces);
  barrier();
  if (first_rank()) publish();
  barrier();
  held_up_ = seconds_between(begin, Clock::now());
  note_saved();
}

// A save in the background is published when the pieces of all ranks are on the disk, in the background as well.
// How far it is is asked at the end of each step, without waiting.
void Trainer::finish_background_save(bool wait) {
  if (background_state_.empty()) return;
  const auto begin = Clock::now();
  if (!wait && largest_of_ranks(background_.busy() ? 1 : 0) > 0) return;
  background_.wait();
  const bool published = std::exchange(publishing_, true);
  if (!published) {
    barrier();
    if (first_rank()) background_.run([this] { publish(); });
  }
  if (wait) {
    background_.wait();
    barrier();
  }
  held_up_ += seconds_between(begin, Clock::now());
  if (wait || published) note_saved();
}

void Trainer::publish() const {
  const CheckpointTarget target{.root = checkpoints(), .step = background_step_, .num_ranks = num_ranks()};
  publish_checkpoint(target, background_state_);
  if (config_.checkpoint.keep > 0)
    prune_checkpoints(checkpoints(), {.last = static_cast<int>(config_.checkpoint.keep)});
}

void Trainer::note_saved() {
  background_state_.clear();
  publishing_ = false;
  if (!first_rank()) return;
  const std::filesystem::path path = checkpoint_path(checkpoints(), background_step_);
  double bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(path)) bytes += static_cast<double>(file.file_size());
  recorder_->console().note(fmt::format("checkpoint {} ({}, {:.1f}s; training waited {:.3f}s)", path.string(),
                                        format_bytes(bytes), seconds_between(background_started_, Clock::now()), held_up_));
}

// ---- the end

void Trainer::finish_recording() {
  uint64_t predicted = resident_at_start_;
  for (const MemoryUse& use : memory_plan()) predicted += use.bytes;
  const uint64_t measured = peak_resident_bytes() + device_memory_bytes();
  if (const int64_t skipped = state_.loss_scale.skipped_steps; first_rank() && skipped > 0)
    recorder_->console().note(fmt::format("{} of {} steps were skipped because gradients overflowed; the loss scale is now {:g}",
                                          skipped, state_.step, state_.loss_scale.scale));
  if (first_rank()) recorder_->finish();
  trace_->finish(*engine_, RunDirectory{config_.output.dir}, predicted, measured);
  if (!grid_) return;
  const auto plan = static_cast<double>(predicted), peak = static_cast<double>(measured);
  const double most = largest_of_ranks(peak), off = largest_of_ranks(std::fabs(peak - plan) / plan);
  if (first_rank())
    recorder_->console().note(fmt::format("memory of the {} ranks: at most {} on one, and within {:.1f} % of the plan on all",
                                          num_ranks(), format_bytes(most), 100 * off));
}

}  // namespace triax
