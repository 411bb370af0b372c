#include <fmt/core.h>

#include <array>
#include <memory>

#include "triax/base/parallel.h"
#include "triax/base/system.h"
#include "triax/base/text.h"
#include "triax/cli/bench_commands.h"
#include "triax/cli/commands.h"
#include "triax/comm/launch.h"
#include "triax/kernels/peak.h"
#include "triax/pipeline/schedule_properties.h"
#include "triax/tensor/device.h"
#include "triax/train/speed.h"

namespace triax::cli {
namespace {

struct BenchOptions {
  EngineConfig engine;
  double seconds = 10;
  int64_t steps = 3;
  bool measure_peak = true;
  int nproc = 0;
};

// Idle time of a pipeline over many steps, in each from the first start to the last end of a computation on any
// rank (on one host, whose clock is the same for all). Every call is collective.
class BubbleMeter {
 public:
  BubbleMeter(const Engine& engine, World& world)
      : engine_(engine), world_(world),
        seconds_(engine.num_chunks() * kKinds), counts_(engine.num_chunks() * kKinds) {}

  void add_last_step() {
    double busy = 0;
    std::array<double, 2> window = {-1e300, -1e300};  // minus the start, and the end: the largest of the ranks count
    for (const ActionSpan& span : engine_.spans()) {
      if (span.action.is_message()) continue;
      busy += span.end - span.start;
      window = {std::max(window[0], -span.start), std::max(window[1], span.end)};
      seconds_[place(span.action)] += span.end - span.start;
      counts_[place(span.action)] += 1;
    }
    world_.communicator().all_reduce({&busy, {1}, DType::f64});
    world_.communicator().all_reduce({window.data(), {2}, DType::f64}, ReduceOp::max);
    busy_ += busy;
    time_ += world_.size() * (window[0] + window[1]);
  }

  // Share of all ranks' time.
  double idle() const { return 1 - busy_ / time_; }

  // The same if every computation took as long as those of its kind and stage did on the average, and messages
  // no time: what of the idle time comes from the schedule and from stages that are not equal.
  double idle_of_mean_times() const {
    const auto n = static_cast<int64_t>(seconds_.size());
    std::vector<double> mean(seconds_.size()), all(seconds_.size() * static_cast<size_t>(world_.size()));
    for (size_t i = 0; i < mean.size(); ++i) mean[i] = counts_[i] > 0 ? seconds_[i] / counts_[i] : 0;
    const EngineConfig& config = engine_.config();
    const PipelineShape shape = config.pipeline(config.max_micro_batches);
    Communicator& pipeline = engine_.grid()->pipeline();
    pipeline.all_gather({mean.data(), {n}, DType::f64}, {all.data(), {n * pipeline.size()}, DType::f64});
    std::vector<std::vector<Action>> lists;
    for (int rank = 0; rank < pipeline.size(); ++rank) lists.push_back(schedule(config.parallel.schedule, shape, rank));
    return simulate(lists, shape, [&](int rank, const Action& action) {
             return action.is_message() ? 0.0 : all[static_cast<size_t>(rank) * mean.size() + place(action)];
           }).bubble();
  }

 private:
  static constexpr size_t kKinds = 4;  // forward, backward, and its two parts
  static size_t place(const Action& action) {
    const size_t kind = action.kind == ActionKind::forward ? 0 : action.kind == ActionKind::backward ? 1
                      : action.kind == ActionKind::backward_input ? 2 : 3;
    return static_cast<size_t>(action.chunk) * kKinds + kind;
  }

  const Engine& engine_;
  World& world_;
  double busy_ = 0, time_ = 0;
  std::vector<double> seconds_, counts_;  // of this rank's computations, by place()
};

void print_pipeline(const Engine& engine, double idle, double idle_of_mean_times) {
  const EngineConfig& config = engine.config();
  const PipelineShape shape = config.pipeline(config.max_micro_batches);
  const double published = published_bubble_fraction(config.parallel.schedule, shape, {});
  fmt::print("pipeline       {}, {} micro-batches; idle {:.1f} % of the ranks' time, published {:.1f} %, with these stages' "
             "mean times {:.1f} %\n",
             name_of(config.parallel.schedule), config.max_micro_batches, 100 * idle, 100 * published / (1 + published),
             100 * idle_of_mean_times);
}

void bench_train(const BenchOptions& options, World& world) {
  EngineConfig config = options.engine;
  const int ranks = world.size();
  config.parallel.grid = fit_grid(config.parallel.grid, ranks);
  config.model.validate(config.parallel.grid.tensor_parallel);
  std::unique_ptr<ProcessGrid> grid;
  if (ranks > 1) grid = std::make_unique<ProcessGrid>(world, config.parallel.grid);
  Engine engine(config, grid.get(), make_queue(device_of_rank(config.device.kind, world.local_rank()), "--device cuda", "--device cpu"));
  engine.initialize();
  BubbleMeter meter(engine, world);
  const TrainingSpeed speed = measure_training_speed(engine, config.max_micro_batches, options.seconds, options.steps,
                                                     [&] { meter.add_last_step(); });
  const double idle_of_mean_times = grid ? meter.idle_of_mean_times() : 0;
  const auto dtype = config.compute_type();
  double peak = 0;
  if (options.measure_peak) {
    const GemmPeak measured = measure_gemm_peak(engine.context());
    const bool half = dtype == DType::bf16 || (dtype == DType::f16 && engine.context().queue);
    peak = half && measured.bf16 > 0 ? measured.bf16 : measured.f32;
  }
  std::array<double, 2> sums = {peak, static_cast<double>(peak_resident_bytes() + device_memory_bytes())};
  world.communicator().all_reduce({sums.data(), {2}, DType::f64});
  if (world.rank() != 0) return;
  const GridShape& shape = config.parallel.grid;
  fmt::print("model          {} parameters, s {}, micro-batch {}, {}, {} threads\n",
             format_count(static_cast<double>(config.model.num_parameters())), config.sequence_length,
             config.micro_batch_size, name_of(config.precision), num_threads());
  if (ranks > 1)
    fmt::print("grid           tensor {} x pipeline {} x data {}, {} chunks a rank\n", shape.tensor_parallel,
               shape.pipeline_parallel, shape.data_parallel, config.parallel.virtual_pipeline);
  fmt::print("step           {:.1f} ms (best {:.1f}) over {} steps\n", speed.mean_step_seconds * 1e3,
             speed.best_step_seconds * 1e3, speed.steps);
  fmt::print("throughput     {:.0f} tokens/s\n", speed.tokens_per_second);
  fmt::print("model FLOP/s   {:.1f} GFLOP/s\n", speed.model_flops_per_second * 1e-9);
  fmt::print("memory         {} resident at the peak{}\n", format_bytes(sums[1] / ranks), ranks > 1 ? " of a rank" : "");
  if (shape.pipeline_parallel > 1) print_pipeline(engine, meter.idle(), idle_of_mean_times);
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

void add_grid_options(Command train, BenchOptions& options) {
  ParallelConfig& parallel = options.engine.parallel;
  parallel.grid.data_parallel = 0;
  train.add_option("--nproc", options.nproc, "start so many ranks on this machine").positive();
  train.add_option("--tensor-parallel", parallel.grid.tensor_parallel).show_default();
  train.add_option("--pipeline-parallel", parallel.grid.pipeline_parallel).show_default();
  train.add_option("--virtual-pipeline", parallel.virtual_pipeline).show_default();
  train.add_choice("--schedule", parallel.schedule, {
      {"gpipe", ScheduleKind::gpipe}, {"one_f_one_b", ScheduleKind::one_f_one_b},
          {"interleaved_1f1b", ScheduleKind::interleaved_1f1b}, {"zb_h1", ScheduleKind::zb_h1}});
  train.add_option("--stage-layers", parallel.stage_layers, "layers of each stage").separated_by(',');
  train.add_flag("--sequence-parallel", parallel.sequence_parallel);
  train.add_option("--zero-stage", parallel.zero_stage).between(0, 3).show_default();
  train.add_flag("!--no-overlap", parallel.overlap, "wait for each exchange at once");
  train.add_option("--micro-batches", options.engine.max_micro_batches, "in a step, of each pipeline").show_default();
}

}  // namespace

void add_bench_command(Command app) {
  Command bench = app.add_subcommand("bench", "Measure this machine with a model's real work");
  bench.require_subcommand();
  auto options = std::make_shared<BenchOptions>();
  ModelConfig& model = options->engine.model;
  model.hidden_dropout = model.attention_dropout = 0;
  Command train = bench.add_subcommand(
      "train", "Time training steps on random tokens, as a share of the GEMM peak measured in the same run");
  train.add_choice("--kind", model.kind, {{"gpt", ModelKind::gpt}, {"bert", ModelKind::bert}}, "gpt or bert");
  train.add_flag("--post-norm", model.post_norm, "of a BERT, the original arrangement");
  train.add_option("--vocab-size", model.vocab_size).show_default();
  train.add_option("--hidden-size", model.hidden_size).show_default();
  train.add_option("--num-layers", model.num_layers).show_default();
  train.add_option("--num-heads", model.num_heads).show_default();
  train.add_option("--sequence-length", options->engine.sequence_length).show_default();
  train.add_option("--micro-batch-size", options->engine.micro_batch_size).show_default();
  train.add_option("--dropout", model.hidden_dropout, "hidden and attention dropout").show_default();
  train.add_choice("--device", options->engine.device.kind, {{"cpu", Device::Kind::cpu}, {"cuda", Device::Kind::cuda}});
  train.add_choice("--precision", options->engine.precision, {{"fp32", Precision::fp32}, {"bf16", Precision::bf16}, {"fp16", Precision::fp16}, {"tf32", Precision::tf32}, {"fp8", Precision::fp8}});
  train.add_choice("--attention", options->engine.attention, {{"own", AttentionBackend::own}, {"cudnn", AttentionBackend::cudnn}, {"cudnn_fast", AttentionBackend::cudnn_fast}});
  train.add_choice("--recompute", options->engine.recompute, {{"none", Recompute::none}, {"selective", Recompute::selective}, {"full", Recompute::full}});
  add_grid_options(train, *options);
  train.add_option("--seconds", options->seconds, "how long to measure").show_default();
  train.add_option("--steps", options->steps, "so many steps at least").positive().show_default();
  train.add_flag("!--no-peak", options->measure_peak, "do not measure the GEMM peak");
  train.footer("Example: triax bench train --vocab-size 8192 --hidden-size 384 --num-layers 6 --num-heads 6 "
                "--sequence-length 256 --micro-batch-size 16\n"
                "BERT-base: triax bench train --kind bert --post-norm --vocab-size 30522 --sequence-length 128 --micro-batch-size 16");
  add_bench_finetune_command(bench);
  add_bench_kernels_command(bench);
  train.callback([options] {
    ModelConfig& m = options->engine.model;
    m.max_positions = options->engine.sequence_length;
    m.attention_dropout = m.hidden_dropout;
    run(*options);
  });
}

}  // namespace triax::cli
