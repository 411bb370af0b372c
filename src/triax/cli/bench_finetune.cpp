#include <fmt/core.h>

#include <memory>
#include <string>
#include <vector>

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/base/parallel.h"
#include "triax/base/text.h"
#include "triax/cli/bench_commands.h"
#include "triax/finetune/speed.h"
#include "triax/finetune/start.h"
#include "triax/kernels/peak.h"

namespace triax::cli {
namespace {

using namespace finetune;

struct BenchFinetuneFlags {
  std::string task, config;
  std::vector<std::string> overrides;
  ModelConfig model = original_bert();
  SpeedOptions speed;
  bool measure_peak = true, bf16 = false;
};

void print_peak(const TuningSpeed& speed, bool bf16) {
  const GemmPeak measured = measure_gemm_peak({});
  const double peak = bf16 && measured.bf16 > 0 ? measured.bf16 : measured.f32;
  fmt::print("model FLOP/s   {:.1f} GFLOP/s\nGEMM peak      {:.1f} GFLOP/s, measured just now\nMFU            {:.1f} %\n", speed.model_flops_per_second * 1e-9,
             peak * 1e-9, 100 * speed.model_flops_per_second / peak);
}

void bench_random(const BenchFinetuneFlags& o) {
  o.model.validate();
  FinetuneConfig config;
  config.parallel.fit(1);
  if (o.bf16) config.train.precision = Precision::bf16;
  const EngineConfig engine = engine_config(config, o.model, {.head = BertHead::sequence, .num_labels = 2}, 1);
  SpeedOptions options = o.speed;
  options.padded = false;
  options.micro_batch_tokens = options.batch_size * options.window;
  const TuningSpeed speed = measure_tuning_speed(engine, random_examples(4 * options.batch_size, options.window, o.model.vocab_size), options);
  fmt::print("model          BERT of {} parameters, s {}, batch {}, {}, {} threads\n", format_count(static_cast<double>(declare_stage(engine.model, {.num_layers = engine.model.num_layers}, 0, 1, engine.head).table.num_parameters())),
             options.window, options.batch_size, o.bf16 ? "bf16" : "fp32", num_threads());
  fmt::print("training       {:.1f} tokens/s, {:.1f} ms a step over {} steps\n", speed.training[0].tokens_per_second(),
             1e3 * speed.training[0].seconds / static_cast<double>(speed.steps), speed.steps);
  fmt::print("prediction     {:.1f} tokens/s\n", speed.prediction[0].tokens_per_second());
  if (o.measure_peak) print_peak(speed, o.bf16);
}

void print_ways(const char* what, const WorkSpeed (&ways)[3]) {
  constexpr const char* kNames[3] = {"packed", "padded to the batch's longest", "padded to the window"};
  for (size_t i = 0; i < 3; ++i)
    fmt::print("{:<11} {:<30} {:>9.1f} tokens/s  {:>5.1f} % padding  packed is {:.2f}x\n", what, kNames[i], ways[i].tokens_per_second(),
               100 * (1 - ways[i].tokens / ways[i].computed), ways[0].tokens_per_second() / ways[i].tokens_per_second());
}

void bench_task(const BenchFinetuneFlags& o) {
  check(!o.config.empty(), "bench finetune {}: name the task's configuration as well", o.task);
  FinetuneConfig config;
  ConfigFields fields(config);
  fields.load_file(o.config);
  for (const std::string& assignment : o.overrides) fields.set(assignment);
  config.parallel = {};  // of one rank
  config.parallel.fit(1);
  const auto tokenizer = load_tokenizer(vocabulary_of(config.model.path));
  const auto task = make_task({task_kind_from(o.task), config.model, config.data, config.task}, *tokenizer, {});
  const auto set = task->read(config.data.train, true);
  SpeedOptions options = o.speed;
  options.batch_size = config.train.batch_size;
  options.window = config.data.max_length;
  options.micro_batch_tokens = config.train.micro_batch_tokens;
  const EngineConfig engine = engine_config(config, model_of(config.model.path), task->head(), 1);
  const TuningSpeed speed = measure_tuning_speed(engine, set->examples, options);
  const bool bf16 = config.train.precision == Precision::bf16;
  fmt::print("{}: {} sequences; {} batches of {}, {}, {} threads\n", config.data.train, set->examples.size(), speed.steps, options.batch_size,
             name_of(engine.compute_type()), num_threads());
  print_ways("training", speed.training);
  print_ways("prediction", speed.prediction);
  if (o.measure_peak) print_peak(speed, bf16);
}

}  // namespace

void add_bench_finetune_command(Command bench) {
  Command command = bench.add_subcommand("finetune", "Time the tuning of a BERT on one rank: on a task's real lengths, packed and with padding, or on random tokens");
  auto o = std::make_shared<BenchFinetuneFlags>();
  o->speed.window = 128;
  command.add_option("task", o->task, "ner, relation, qa, classify, stance, regress or choice; without it, random tokens").type_name("TASK");
  command.add_option("config", o->config, "as for triax finetune").existing_file().type_name("FILE.toml");
  command.add_option("--set", o->overrides, "override a key of it; may be said again").type_name("KEY=VALUE");
  command.add_option("--vocab-size", o->model.vocab_size, "of random tokens, as the following").positive().show_default();
  command.add_option("--hidden-size", o->model.hidden_size).positive().show_default();
  command.add_option("--num-layers", o->model.num_layers).positive().show_default();
  command.add_option("--num-heads", o->model.num_heads).positive().show_default();
  command.add_option("--sequence-length", o->speed.window).show_default();
  command.add_option("--batch-size", o->speed.batch_size).show_default();
  command.add_option("--seconds", o->speed.seconds, "how long to measure training").show_default();
  command.add_flag("--bf16", o->bf16, "random tokens in bf16; a task is computed as its train.precision says");
  command.add_flag("!--no-peak", o->measure_peak, "do not measure the GEMM peak");
  command.footer("Examples:\n  triax bench finetune                    # BERT-base, 128 tokens, batches of 16\n  triax bench finetune qa squad.toml");
  command.callback([o] { o->task.empty() ? bench_random(*o) : bench_task(*o); });
}

}  // namespace triax::cli
