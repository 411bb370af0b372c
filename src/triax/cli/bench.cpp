#include <fmt/core.h>

#include <chrono>
#include <map>
#include <memory>
#include <vector>

#include "triax/base/parallel.h"
#include "triax/base/rng.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"
#include "triax/kernels/peak.h"
#include "triax/train/engine.h"

namespace triax::cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

TokenBatch random_batch(const EngineConfig& config, uint64_t seed) {
  const int64_t b = config.micro_batch_size, s = config.sequence_length;
  Philox random(seed);
  TokenBatch batch;
  for (int64_t i = 0; i < b * s; ++i) {
    batch.tokens.push_back(static_cast<int32_t>(random.next_below(static_cast<uint64_t>(config.model.vocab_size))));
    batch.targets.push_back(static_cast<int32_t>(random.next_below(static_cast<uint64_t>(config.model.vocab_size))));
    batch.positions.push_back(static_cast<int32_t>(i % s));
    batch.loss_mask.push_back(1);
  }
  for (int64_t i = 0; i < b; ++i) batch.spans.push_back({i * s, s});
  return batch;
}

struct BenchOptions {
  EngineConfig engine;
  double seconds = 10;
  bool measure_peak = true;
};

void bench_train(const BenchOptions& options) {
  const EngineConfig& config = options.engine;
  config.model.validate();
  Engine engine(config);
  engine.initialize();
  const TokenBatch batch = random_batch(config, 7);
  const double tokens = static_cast<double>(batch.tokens.size());
  const double flops = tokens * config.model.flops_per_token(config.sequence_length);
  engine.train_step(1, 1e-4, {&batch, 1});  // pages touched, primitives made
  int64_t step = 1;
  double best = 1e30, total = 0;
  while (total < options.seconds || step < 4) {
    const auto start = Clock::now();
    engine.train_step(++step, 1e-4, {&batch, 1});
    const double seconds = seconds_since(start);
    total += seconds;
    best = std::min(best, seconds);
  }
  const double mean = total / static_cast<double>(step - 1);
  const auto dtype = config.precision == Precision::bf16 ? DType::bf16 : DType::f32;
  fmt::print("model          {} parameters, s {}, micro-batch {}, {}, {} threads\n",
             format_count(static_cast<double>(config.model.num_parameters())), config.sequence_length,
             config.micro_batch_size, name_of(dtype), num_threads());
  fmt::print("step           {:.1f} ms (best {:.1f}) over {} steps\n", mean * 1e3, best * 1e3, step - 1);
  fmt::print("throughput     {:.0f} tokens/s\n", tokens / mean);
  fmt::print("model FLOP/s   {:.1f} GFLOP/s\n", flops / mean * 1e-9);
  if (options.measure_peak) {
    const GemmPeak measured = measure_gemm_peak(engine.context());
    const double peak = dtype == DType::bf16 && measured.bf16 > 0 ? measured.bf16 : measured.f32;
    fmt::print("GEMM peak      {:.1f} GFLOP/s, measured just now\n", peak * 1e-9);
    fmt::print("MFU            {:.1f} %\n", 100 * flops / mean / peak);
  }
}

}  // namespace

void add_bench_command(CLI::App& app) {
  CLI::App* bench = app.add_subcommand("bench", "Measure this machine with a model's real work");
  bench->require_subcommand(1);
  auto options = std::make_shared<BenchOptions>();
  GptConfig& model = options->engine.model;
  model.hidden_dropout = model.attention_dropout = 0;
  CLI::App* train = bench->add_subcommand(
      "train", "Time training steps on random tokens, as a share of the GEMM peak measured in the same run");
  train->add_option("--vocab-size", model.vocab_size)->capture_default_str();
  train->add_option("--hidden-size", model.hidden_size)->capture_default_str();
  train->add_option("--num-layers", model.num_layers)->capture_default_str();
  train->add_option("--num-heads", model.num_heads)->capture_default_str();
  train->add_option("--sequence-length", options->engine.sequence_length)->capture_default_str();
  train->add_option("--micro-batch-size", options->engine.micro_batch_size)->capture_default_str();
  train->add_option("--dropout", model.hidden_dropout, "hidden and attention dropout")->capture_default_str();
  train->add_option("--precision", options->engine.precision)
      ->transform(CLI::CheckedTransformer(std::map<std::string, Precision>{
          {"fp32", Precision::fp32}, {"bf16", Precision::bf16}}));
  train->add_option("--recompute", options->engine.recompute)
      ->transform(CLI::CheckedTransformer(std::map<std::string, Recompute>{
          {"none", Recompute::none}, {"selective", Recompute::selective}, {"full", Recompute::full}}));
  train->add_option("--seconds", options->seconds, "how long to measure")->capture_default_str();
  train->add_flag("!--no-peak", options->measure_peak, "do not measure the GEMM peak");
  train->footer("Example: triax bench train --vocab-size 8192 --hidden-size 384 --num-layers 6 --num-heads 6 "
                "--sequence-length 256 --micro-batch-size 16");
  train->callback([options] {
    GptConfig& m = options->engine.model;
    m.max_positions = options->engine.sequence_length;
    m.attention_dropout = m.hidden_dropout;
    bench_train(*options);
  });
}

}  // namespace triax::cli
