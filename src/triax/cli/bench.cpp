#include <fmt/core.h>

#include <array>
#include <map>
#include <memory>

#include "triax/base/parallel.h"
#include "triax/base/system.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"
#include "triax/comm/launch.h"
#include "triax/kernels/peak.h"
#include "triax/pipeline/schedule_properties.h"
#include "triax/train/speed.h"

namespace triax::cli {
namespace {

struct BenchOptions {
  EngineConfig engine;
  double seconds = 10;
  bool measure_peak = true;
  int nproc = 0;
};

// The bubble of the last step: idle share of all ranks' time from the first start to the last end on any of them
// (on one host, whose clock is the same for all).
double measured_bubble(const Engine& engine, World& world) {
  double busy = 0;
  std::array<double, 2> window = {-1e300, -1e300};  // minus the start, and the end: the largest of the ranks count
  for (const ActionSpan& span : engine.spans()) {
    if (span.action.is_message()) continue;
    busy += span.end - span.start;
    window = {std::max(window[0], -span.start), std::max(window[1], span.end)};
  }
  world.communicator().all_reduce({&busy, {1}, DType::f64});
  world.communicator().all_reduce({window.data(), {2}, DType::f64}, ReduceOp::max);
  return 1 - busy / (world.size() * (window[0] + window[1]));
}

void print_pipeline(const Engine& engine, double bubble) {
  const EngineConfig& config = engine.config();
  const PipelineShape shape = config.pipeline(config.max_micro_batches);
  const double published = published_bubble_fraction(config.parallel.schedule, shape, {});
  fmt::print("pipeline       {}, {} micro-batches; idle {:.1f} % of the ranks' time, published {:.1f} %\n",
             name_of(config.parallel.schedule), config.max_micro_batches, 100 * bubble,
             100 * published / (1 + published));
}

void bench_train(const BenchOptions& options, World& world) {
  EngineConfig config = options.engine;
  const int ranks = world.size();
  config.parallel.grid = fit_grid(config.parallel.grid, ranks);
  config.model.validate(config.parallel.grid.tensor_parallel);
  std::unique_ptr<ProcessGrid> grid;
  if (ranks > 1) grid = std::make_unique<ProcessGrid>(world, config.parallel.grid);
  Engine engine(config, grid.get());
  engine.initialize();
  const TrainingSpeed speed = measure_training_speed(engine, config.max_micro_batches, options.seconds);
  const double bubble = measured_bubble(engine, world);
  const auto dtype = config.compute_type();
  double peak = 0;
  if (options.measure_peak) {
    const GemmPeak measured = measure_gemm_peak(engine.context());
    peak = dtype == DType::bf16 && measured.bf16 > 0 ? measured.bf16 : measured.f32;
  }
  std::array<double, 2> sums = {peak, static_cast<double>(peak_resident_bytes())};
  world.communicator().all_reduce({sums.data(), {2}, DType::f64});
  if (world.rank() != 0) return;
  const GridShape& shape = config.parallel.grid;
  fmt::print("model          {} parameters, s {}, micro-batch {}, {}, {} threads\n",
             format_count(static_cast<double>(config.model.num_parameters())), config.sequence_length,
             config.micro_batch_size, name_of(dtype), num_threads());
  if (ranks > 1)
    fmt::print("grid           tensor {} x pipeline {} x data {}, {} chunks a rank\n", shape.tensor_parallel,
               shape.pipeline_parallel, shape.data_parallel, config.parallel.virtual_pipeline);
  fmt::print("step           {:.1f} ms (best {:.1f}) over {} steps\n", speed.mean_step_seconds * 1e3,
             speed.best_step_seconds * 1e3, speed.steps);
  fmt::print("throughput     {:.0f} tokens/s\n", speed.tokens_per_second);
  fmt::print("model FLOP/s   {:.1f} GFLOP/s\n", speed.model_flops_per_second * 1e-9);
  fmt::print("memory         {} resident at the peak{}\n", format_bytes(sums[1] / ranks), ranks > 1 ? " of a rank" : "");
  if (shape.pipeline_parallel > 1) print_pipeline(engine, bubble);
  if (!options.measure_peak) return;
  fmt::print("GEMM peak      {:.1f} GFLOP/s{}, measured just now\n", sums[0] * 1e-9, ranks > 1 ? " of all ranks" : "");
  fmt::print("MFU            {:.1f} %\n", 100 * speed.model_flops_per_second / sums[0]);
}

void run(const BenchOptions& options) {
  if (options.nproc > 0) relaunch_under_mpirun(options.nproc, own_arguments_without("--nproc"));
  run_ranks({}, [&](World& world) {
    bench_train(options, world);
    return 0;
  });
}

void add_grid_options(CLI::App* train, BenchOptions& options) {
  ParallelConfig& parallel = options.engine.parallel;
  parallel.grid.data_parallel = 0;
  train->add_option("--nproc", options.nproc, "start so many ranks on this machine")->check(CLI::PositiveNumber);
  train->add_option("--tensor-parallel", parallel.grid.tensor_parallel)->capture_default_str();
  train->add_option("--pipeline-parallel", parallel.grid.pipeline_parallel)->capture_default_str();
  train->add_option("--virtual-pipeline", parallel.virtual_pipeline)->capture_default_str();
  train->add_option("--schedule", parallel.schedule)
      ->transform(CLI::CheckedTransformer(std::map<std::string, ScheduleKind>{
          {"gpipe", ScheduleKind::gpipe}, {"one_f_one_b", ScheduleKind::one_f_one_b},
          {"interleaved_1f1b", ScheduleKind::interleaved_1f1b}, {"zb_h1", ScheduleKind::zb_h1}}));
  train->add_option("--stage-layers", parallel.stage_layers, "layers of each stage")->delimiter(',');
  train->add_flag("--sequence-parallel", parallel.sequence_parallel);
  train->add_option("--zero-stage", parallel.zero_stage)->check(CLI::Range(0, 3))->capture_default_str();
  train->add_flag("!--no-overlap", parallel.overlap, "wait for each exchange at once");
  train->add_option("--micro-batches", options.engine.max_micro_batches, "in a step, of each pipeline")->capture_default_str();
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
          {"fp32", Precision::fp32}, {"bf16", Precision::bf16}, {"fp16", Precision::fp16}}));
  train->add_option("--recompute", options->engine.recompute)
      ->transform(CLI::CheckedTransformer(std::map<std::string, Recompute>{
          {"none", Recompute::none}, {"selective", Recompute::selective}, {"full", Recompute::full}}));
  add_grid_options(train, *options);
  train->add_option("--seconds", options->seconds, "how long to measure")->capture_default_str();
  train->add_flag("!--no-peak", options->measure_peak, "do not measure the GEMM peak");
  train->footer("Example: triax bench train --vocab-size 8192 --hidden-size 384 --num-layers 6 --num-heads 6 "
                "--sequence-length 256 --micro-batch-size 16");
  train->callback([options] {
    GptConfig& m = options->engine.model;
    m.max_positions = options->engine.sequence_length;
    m.attention_dropout = m.hidden_dropout;
    run(*options);
  });
}

}  // namespace triax::cli
