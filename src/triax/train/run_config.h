// Everything one training run is made of: the TOML file of `triax train`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "triax/models/model_config.h"
#include "triax/optim/lr_schedule.h"
#include "triax/train/engine.h"

namespace triax {

struct TrainConfig {
  int64_t steps = 1000;
  int64_t sequence_length = 0;
  int64_t micro_batch_size = 4;
  int64_t global_batch_size = 32;
  int64_t batch_ramp_start = 0, batch_ramp_increment = 0, batch_ramp_samples = 0;
  Device::Kind device = Device::Kind::cpu;
  Precision precision = Precision::fp32;
  double loss_scale = 0, initial_loss_scale = 4294967296.0, min_loss_scale = 1;
  int64_t loss_scale_window = 1000, loss_scale_hysteresis = 2;
  AttentionBackend attention = AttentionBackend::own;
  Recompute recompute = Recompute::none;
  int64_t keep_micro_batches = 0;
  int64_t seed = 1234;
  int64_t threads = 0;
  double time_limit_minutes = 0;

  template <class V>
  void visit(V& v) {
    v("steps", steps, "optimizer steps of the whole run").at_least(1);
    v("sequence_length", sequence_length, "tokens a sample; 0 means model.max_positions").at_least(0);
    v("micro_batch_size", micro_batch_size, "sequences worked on at a time").at_least(1);
    v("global_batch_size", global_batch_size,
      "sequences a step; a multiple of micro_batch_size times data_parallel (the rest by gradient accumulation)").at_least(1);
    v("batch_ramp_start", batch_ramp_start,
      "batch-size ramp: global batch of the first step; 0 means no ramp").at_least(0);
    v("batch_ramp_increment", batch_ramp_increment, "batch-size ramp: growth at a time").at_least(0);
    v("batch_ramp_samples", batch_ramp_samples,
      "batch-size ramp: samples over which the batch grows to global_batch_size").at_least(0);
    v("device", device, "what a rank computes on; cuda: an NVIDIA GPU", {"cpu", "cuda"});
    v("precision", precision, "of activations and matrix products; weights, gradients and optimizer "
      "state are kept in fp32; tf32: all in fp32, and products on a GPU round their operands to 10 bits; fp8: bf16, and the "
      "linear layers on a GPU (Ada, Hopper) multiply in 8 bits",
      {"fp32", "bf16", "fp16", "tf32", "fp8"});
    v("attention", attention, "on a GPU: triax's kernels, or cuDNN's, for sequences of one length (cudnn_fast: sums in any order, so that "
      "runs differ in the last bits; less memory)", {"own", "cudnn", "cudnn_fast"});
    v("loss_scale", loss_scale, "fp16: the loss is multiplied by this before backward; 0: by a scale that adapts").at_least(0);
    v("initial_loss_scale", initial_loss_scale, "fp16: the scale of the first step").at_least(1);
    v("loss_scale_window", loss_scale_window, "fp16: steps without overflow after which the scale doubles").at_least(1);
    v("loss_scale_hysteresis", loss_scale_hysteresis,
      "fp16: overflows before the scale is halved; counted anew when it doubles").at_least(1);
    v("min_loss_scale", min_loss_scale, "fp16: the run fails where the scale would fall below this").at_least(0);
    v("recompute", recompute, "what backward computes again instead of keeping: nothing, norms and "
      "activations, or whole layers", {"none", "selective", "full"});
    v("keep_micro_batches", keep_micro_batches, "with recompute, so many of the micro-batches in flight on a stage keep "
      "everything all the same, where memory is left").at_least(0);
    v("seed", seed, "of initial weights, dropout and data order").at_least(0);
    v("threads", threads, "CPU threads; 0 means OMP_NUM_THREADS, or every core").at_least(0);
    v("time_limit_minutes", time_limit_minutes,
      "save a checkpoint and stop after this long; 0 means no limit").at_least(0);
  }
};

struct GridConfig {
  int64_t tensor_parallel = 1, pipeline_parallel = 1, data_parallel = 0;
  int64_t virtual_pipeline = 1;
  ScheduleKind schedule = ScheduleKind::interleaved_1f1b;
  std::vector<int64_t> stage_layers;
  bool sequence_parallel = false;
  int64_t zero_stage = 0;
  bool scatter_gather = true, overlap = true, nccl = false;
  std::string order = "tp-dp-pp";
  double timeout_seconds = 600;

  template <class V>
  void visit(V& v) {
    v("tensor_parallel", tensor_parallel, "ranks that share every layer, t").between(1, 1 << 20);
    v("pipeline_parallel", pipeline_parallel, "ranks that have the layers one after the other, p").between(1, 1 << 20);
    v("data_parallel", data_parallel, "ranks that share the batch, d; 0: all that are left").between(0, 1 << 20);
    v("virtual_pipeline", virtual_pipeline, "runs of layers each pipeline rank has, v (interleaved_1f1b)").between(1, 1 << 20);
    v("schedule", schedule, "order of a pipeline's work; interleaved_1f1b with virtual_pipeline = 1 is 1F1B; zb_h2 is only "
      "for triax plan",
      {"gpipe", "one_f_one_b", "interleaved_1f1b", "zb_h1", "zb_h2"});
    v("stage_layers", stage_layers, "layers of each of the p * v stages; empty: balanced, the head counted").at_least(0);
    v("sequence_parallel", sequence_parallel,
      "tensor-parallel ranks share the tokens where they do not share the layer (norms, dropout)");
    v("zero_stage", zero_stage, "what data-parallel ranks share: 0 nothing, 1 optimizer state, 2 and gradients, "
      "3 and weights").between(0, 3);
    v("scatter_gather", scatter_gather, "tensor-parallel ranks each send 1 / t of what goes to the next stage");
    v("overlap", overlap, "exchange gradients and weights while computing; never changes a result");
    v("nccl", nccl, "train.device = \"cuda\": ranks exchange what they share by NCCL, each on a GPU of its own, instead of "
      "through the hosts' memory");
    v("order", order, "how ranks are numbered, the fastest axis first");
    v("timeout_seconds", timeout_seconds, "a rank that waits longer ends the job and says who waits for whom").at_least(1);
  }

  // Fills in data_parallel for a job of so many ranks; 0: as many as the grid names. Throws Error naming the keys.
  void fit(int ranks);
  ParallelConfig engine() const;
  // "grid of 4 ranks: tensor 2 x pipeline 2 x data 1, schedule interleaved_1f1b with 2 chunks a rank"
  std::string describe() const;
};

struct OptimizerConfig {
  double learning_rate = 3e-4, min_learning_rate = 3e-5;
  Decay decay = Decay::cosine;
  int64_t warmup_steps = 100, decay_steps = 0;
  double wsd_fraction = 0.2;
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1, clip_gradient = 1.0;
  bool stochastic_rounding = false;

  template <class V>
  void visit(V& v) {
    v("learning_rate", learning_rate, "peak learning rate").at_least(0);
    v("min_learning_rate", min_learning_rate, "learning rate at the end of the decay").at_least(0);
    v("decay", decay, "how the learning rate falls after warm-up",
      {"cosine", "linear", "constant", "inverse_sqrt", "wsd"});
    v("warmup_steps", warmup_steps, "steps of linear warm-up").at_least(0);
    v("decay_steps", decay_steps, "step at which min_learning_rate is reached; 0 means train.steps").at_least(0);
    v("wsd_fraction", wsd_fraction, "wsd: share of decay_steps in which the rate falls").between(0, 1);
    v("beta1", beta1, "AdamW").between(0, 0.999999);
    v("beta2", beta2, "AdamW").between(0, 0.999999);
    v("epsilon", epsilon, "AdamW").at_least(0);
    v("weight_decay", weight_decay, "AdamW, decoupled; of matrices, not of biases and norms").at_least(0);
    v("stochastic_rounding", stochastic_rounding, "bf16: weights are rounded from their fp32 masters up or down at random, "
      "with the chances that make the mean right; the same on every grid and device");
    v("clip_gradient", clip_gradient, "largest global norm of the gradient; 0 means no clipping").at_least(0);
  }
};

struct MaskingConfig {
  double probability = 0.15, short_probability = 0.1;
  int64_t max_ngram = 3;
  bool whole_words = true;

  template <class V>
  void visit(V& v) {
    v("probability", probability, "share of the tokens that are to be guessed: of these 80 % become [MASK], 10 % another token, "
      "10 % stay").between(0.001, 0.9);
    v("max_ngram", max_ngram, "up to so many words after each other are masked together, n of them with a probability "
      "proportional to 1 / n").between(1, 16);
    v("whole_words", whole_words, "all pieces of a word are masked, or none");
    v("short_probability", short_probability, "share of the samples that are shorter than train.sequence_length").between(0, 1);
  }
};

struct DataConfig {
  std::vector<std::string> train;
  std::vector<double> weights;
  std::vector<std::string> validation;
  std::string split = "969,30,1";
  std::string tokenizer;
  std::string cache;
  bool reset_positions = false, reset_attention = false, eod_mask_loss = false;
  MaskingConfig masking;

  template <class V>
  void visit(V& v) {
    v("train", train, "token datasets (prefixes of .bin/.idx pairs, as `triax pack` writes them)");
    v("weights", weights, "share of each dataset in the blend; empty means equal");
    v("validation", validation, "token datasets to evaluate on; empty: the split's share of train");
    v("split", split, "documents for training, validation and test, as shares");
    v("tokenizer", tokenizer, "folder of the vocabulary: for vocab_size, samples, and the checkpoint");
    v("cache", cache, "folder for sample indexes; empty: beside each dataset");
    v("reset_positions", reset_positions, "count positions from 0 again after each end of document");
    v("reset_attention", reset_attention, "let tokens see only their own document");
    v("eod_mask_loss", eod_mask_loss, "do not train on what follows an end of document");
    v.section("masking", masking, "what a BERT has to guess; its datasets are packed with --sentences");
  }
};

struct EvalConfig {
  int64_t interval = 100, batches = 10;
  int64_t sample_interval = 0, sample_tokens = 60;
  std::vector<std::string> prompts;
  double temperature = 0.8;
  int64_t top_k = 50;

  template <class V>
  void visit(V& v) {
    v("interval", interval, "steps between evaluations; 0: only at the end").at_least(0);
    v("batches", batches, "global batches an evaluation; 0: no evaluation at all").at_least(0);
    v("sample_interval", sample_interval, "steps between generated samples; 0: only at the end").at_least(0);
    v("sample_tokens", sample_tokens, "tokens a sample").at_least(1);
    v("prompts", prompts, "beginnings of the samples; empty: no samples");
    v("temperature", temperature, "of the samples").at_least(0);
    v("top_k", top_k, "of the samples; 0: all tokens").at_least(0);
  }
};

struct CheckpointConfig {
  int64_t interval = 0, keep = 2;
  bool resume = true, background = false;
  bool save_at_end = true;
  std::string load;

  template <class V>
  void visit(V& v) {
    v("interval", interval, "steps between checkpoints; 0: only at the end or when stopped").at_least(0);
    v("keep", keep, "checkpoints kept; 0: all").at_least(0);
    v("background", background, "write while training goes on, from a copy that takes as much memory again");
    v("resume", resume, "go on from the newest whole checkpoint in output.dir, if there is one");
    v("save_at_end", save_at_end, "write a checkpoint after the last step");
    v("load", load, "start from this checkpoint's weights, with a fresh optimizer and data order");
  }
};

struct OutputConfig {
  std::string dir = "runs/run";
  int64_t log_interval = 1;
  bool tensorboard = true;
  std::string trace;

  template <class V>
  void visit(V& v) {
    v("dir", dir, "folder of the run: checkpoints, metrics, report");
    v("log_interval", log_interval, "steps between progress lines").at_least(1);
    v("tensorboard", tensorboard, "write TensorBoard event files");
    v("trace", trace, "steps of which trace.json records every rank, for ui.perfetto.dev, as in \"10-12\"");
  }
};

struct RunConfig {
  ModelConfig model;
  TrainConfig train;
  GridConfig parallel;
  OptimizerConfig optimizer;
  DataConfig data;
  EvalConfig eval;
  CheckpointConfig checkpoint;
  OutputConfig output;

  template <class V>
  void visit(V& v) {
    v.section("model", model, "the shape of the model");
    v.section("train", train, "how long, how much at a time, in which precision");
    v.section("parallel", parallel, "the grid of ranks: tensor x pipeline x data");
    v.section("optimizer", optimizer, "AdamW and its learning rate");
    v.section("data", data, "what it learns from");
    v.section("eval", eval, "validation and samples along the way");
    v.section("checkpoint", checkpoint, "what is saved, and from what it starts");
    v.section("output", output, "where results go");
  }

  // Fills in what defaults to another key (sequence_length, decay_steps), then checks what no single key
  // can tell. Throws Error naming the keys. `ranks` of the job; 0: as many as the grid names.
  void resolve(int ranks = 0);
  EngineConfig engine() const;
  // Sequences that all data-parallel ranks work on at a time: the unit of global batches.
  int64_t samples_at_a_time() const { return train.micro_batch_size * parallel.data_parallel; }
  // Every global batch of the run's ramp, smallest first.
  std::vector<int64_t> global_batches() const;
  LrSchedule lr_schedule() const;
  // Sequences of the step that begins after `consumed_samples` (Megatron's batch-size ramp).
  int64_t batch_size_at(int64_t consumed_samples) const;
};

}  // namespace triax
