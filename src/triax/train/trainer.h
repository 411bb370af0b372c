// The training loop: data in, steps, validation, samples, checkpoints, and everything written down.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "triax/generate/generator.h"
#include "triax/train/engine.h"
#include "triax/train/run_config.h"
#include "triax/train/run_directory.h"
#include "triax/train/state.h"
#include "triax/train/stop_signal.h"
#include "triax/train/training_data.h"

namespace triax {

struct TrainOutcome {
  int64_t step = 0;
  double train_loss = 0, validation_loss = 0;  // NaN where there is none
  bool finished = false;                       // false: stopped by a signal or the time limit
};

class Trainer {
 public:
  // `config` is resolved here; missing pieces (vocabulary size) come from the data. Throws Error before
  // anything large is allocated or written if the run cannot work.
  explicit Trainer(RunConfig config);
  ~Trainer();

  TrainOutcome run();

 private:
  using Clock = std::chrono::steady_clock;
  void open_data();
  void check_memory_fits(const std::vector<MemoryUse>& plan) const;
  void start_or_resume();
  void start_recording();
  void train_one_step();
  void validate();
  void write_samples();
  void save();
  bool should_stop(std::string& reason) const;
  bool due(int64_t interval) const { return interval > 0 && state_.step % interval == 0; }
  std::filesystem::path checkpoints() const;

  RunConfig config_;
  LrSchedule schedule_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<TrainingData> data_;
  size_t resident_at_start_ = 0;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<RunRecorder> recorder_;
  TrainState state_;
  TrainOutcome outcome_;
  std::vector<TokenBatch> batches_;
  StopSignal stop_;
  Clock::time_point started_ = Clock::now();
  double peak_flops_ = 0;
  int64_t last_validated_ = -1, last_sampled_ = -1, last_saved_ = -1;
};

}  // namespace triax
