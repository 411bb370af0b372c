#include <fmt/core.h>

#include <map>
#include <memory>

#include "triax/base/parallel.h"
#include "triax/base/system.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"
#include "triax/kernels/peak.h"
#include "triax/train/speed.h"

namespace triax::cli {
namespace {

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
  const TrainingSpeed speed = measure_training_speed(engine, 1, options.seconds);
  const auto dtype = config.precision == Precision::bf16 ? DType::bf16 : DType::f32;
  fmt::print("model          {} parameters, s {}, micro-batch {}, {}, {} threads\n",
             format_count(static_cast<double>(config.model.num_parameters())), config.sequence_length,
             config.micro_batch_size, name_of(dtype), num_threads());
  fmt::print("step           {:.1f} ms (best {:.1f}) over {} steps\n", speed.mean_step_seconds * 1e3,
             speed.best_step_seconds * 1e3, speed.steps);
  fmt::print("throughput     {:.0f} tokens/s\n", speed.tokens_per_second);
  fmt::print("model FLOP/s   {:.1f} GFLOP/s\n", speed.model_flops_per_second * 1e-9);
  fmt::print("memory         {} resident at the peak\n",
             format_bytes(static_cast<double>(peak_resident_bytes())));
  if (options.measure_peak) {
    const GemmPeak measured = measure_gemm_peak(engine.context());
    const double peak = dtype == DType::bf16 && measured.bf16 > 0 ? measured.bf16 : measured.f32;
    fmt::print("GEMM peak      {:.1f} GFLOP/s, measured just now\n", peak * 1e-9);
    fmt::print("MFU            {:.1f} %\n", 100 * speed.model_flops_per_second / peak);
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
