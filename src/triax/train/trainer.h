// The training loop: data in, steps, validation, samples, checkpoints, and everything written down.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "triax/checkpoint/background_save.h"
#include "triax/generate/generator.h"
#include "triax/train/engine.h"
#include "triax/train/run_config.h"
#include "triax/train/run_directory.h"
#include "triax/train/run_trace.h"
#include "triax/train/state.h"
#include "triax/train/stop_signal.h"
#include "triax/train/training_data.h"

namespace triax {

struct TrainOutcome {
  int64_t step = 0;
  double train_loss = 0, validation_loss = 0, validation_perplexity = 0;  // NaN where there is none
  bool finished = false;                       // false: stopped by a signal or the time limit
};

class Trainer {
 public:
  // `config` is resolved here; missing pieces (vocabulary size) come from the data. With a world of several
  // ranks this is one of them, and every call is collective; the first rank speaks for all. Throws Error
  // before anything large is allocated or written if the run cannot work.
  explicit Trainer(RunConfig config, World* world = nullptr);
  ~Trainer();

  TrainOutcome run();

 private:
  using Clock = std::chrono::steady_clock;
  void open_data();
  void load_data();
  void require_same_run() const;
  // What this rank will take beside what the program took before.
  std::vector<MemoryUse> memory_plan();
  void start_or_resume();
  void start_recording();
  void start_recorder();
  void train_one_step();
  void record_step(const StepResult& result, double rate, double seconds);
  void validate();
  void write_samples();
  void generate_samples(const Gpt& model, const Context& context);
  void save();
  void finish_background_save(bool wait);
  void publish() const;
  void note_saved();
  void finish_recording();
  bool should_stop(std::string& reason) const;
  bool due(int64_t interval) const { return interval > 0 && state_.step % interval == 0; }
  std::filesystem::path checkpoints() const;

  bool first_rank() const { return !grid_ || grid_->world().rank() == 0; }
  int num_ranks() const { return grid_ ? grid_->world().size() : 1; }
  void barrier() const;
  double sum_over_ranks(double value) const;
  double largest_of_ranks(double value) const;

  RunConfig config_;
  std::unique_ptr<ProcessGrid> grid_;  // null: one rank
  LrSchedule schedule_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<TrainingData> data_;
  size_t resident_at_start_ = 0;
  std::unique_ptr<RunTrace> trace_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<RunRecorder> recorder_;  // on the first rank only
  TrainState state_;
  TrainOutcome outcome_;
  std::vector<TokenBatch> batches_;
  std::string background_state_;  // of the save under way; empty: none
  int64_t background_step_ = 0;
  Clock::time_point background_started_;
  bool publishing_ = false;
  double held_up_ = 0;  // seconds that the save under way has kept training from going on
  BackgroundSave background_;  // after what its thread reads
  StopSignal stop_;
  Clock::time_point started_ = Clock::now();
  double peak_flops_ = 0;  // of all ranks
  std::unique_ptr<GpuSensors> sensors_;  // null: no GPU, or one that tells nothing
  int64_t last_validated_ = -1, last_sampled_ = -1, last_saved_ = -1;
};

}  // namespace triax
