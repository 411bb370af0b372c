#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/base/log.h"
#include "triax/base/parallel.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"
#include "triax/comm/launch.h"
#include "triax/train/speed.h"
#include "triax/train/trainer.h"

namespace triax::cli {
namespace {

struct TrainOptions {
  std::string config_file;
  std::vector<std::string> overrides;
  bool print_config = false;
  double minutes = 0;
  int nproc = 0;
  std::string trace;
};

// As many steps as this machine makes in so many minutes, measured with the run's own shapes.
int64_t steps_in(RunConfig config, double minutes, World& world) {
  if (config.train.threads > 0) set_num_threads(static_cast<int>(config.train.threads));
  if (config.model.vocab_size == 0)
    config.model.vocab_size = load_tokenizer(config.data.tokenizer)->vocab_size();
  config.resolve(world.size());
  std::unique_ptr<ProcessGrid> grid;
  if (world.size() > 1) grid = std::make_unique<ProcessGrid>(world, config.engine().parallel.grid);
  Engine engine(config.engine(), grid.get());
  engine.initialize();
  const TrainingSpeed speed = measure_training_speed(engine, config.engine().max_micro_batches, 5);
  return std::max<int64_t>(1, static_cast<int64_t>(minutes * 60 / speed.mean_step_seconds));
}

RunConfig load_config(const TrainOptions& options) {
  RunConfig config;
  ConfigFields fields(config);
  if (!options.config_file.empty()) fields.load_file(options.config_file);
  for (const std::string& assignment : options.overrides) fields.set(assignment);
  if (!options.trace.empty()) config.output.trace = options.trace;
  parse_step_range(config.output.trace);
  return config;
}

int train(RunConfig config, const TrainOptions& options, World& world) {
  const bool speaks = world.rank() == 0;
  if (!speaks) set_log_prefix(fmt::format("rank {}", world.rank()));
  if (options.minutes > 0) {
    config.train.steps = steps_in(config, options.minutes, world);
    if (speaks)
      fmt::print("{} steps take about {} on this machine\n", config.train.steps, format_duration(options.minutes * 60));
  }
  Trainer trainer(std::move(config), &world);
  const TrainOutcome outcome = trainer.run();
  if (speaks && !std::isnan(outcome.validation_loss))
    fmt::print("validation loss {:.4f} (perplexity {:.2f}) after {} steps\n", outcome.validation_loss,
               outcome.validation_perplexity, outcome.step);
  return 0;
}

void run(const TrainOptions& options) {
  RunConfig config = load_config(options);
  if (options.print_config) {
    config.resolve();
    fmt::print("{}", ConfigFields(config).print());
    return;
  }
  check(!config.data.train.empty(),
        "data.train is empty: name the token datasets to train on (`triax pack` makes them), in the file "
        "or as --set data.train=PREFIX");
  if (options.nproc > 0) {
    RunConfig trial = config;
    trial.resolve(options.nproc);  // a grid that does not fit is refused before anything is started
    relaunch_under_mpirun(options.nproc, own_arguments_without("--nproc"));
  }
  WorldOptions world;
  world.progress.timeout = std::chrono::milliseconds(static_cast<int64_t>(config.parallel.timeout_seconds * 1000));
  run_ranks(world, [&](World& ranks) { return train(config, options, ranks); });
}

}  // namespace

void add_train_command(Command app) {
  Command command = app.add_subcommand("train", "Train a GPT or a BERT on token datasets");
  auto options = std::make_shared<TrainOptions>();
  command.add_option("config", options->config_file, "TOML file of the run").type_name("FILE");
  command.add_option("--set", options->overrides,
                      "override one key of the file, as section.key=value; may be given many times")
      .type_name("KEY=VALUE")
      .repeatable();
  command.add_option("--minutes", options->minutes,
                      "measure this machine and set train.steps to what it does in so many minutes")
      .positive();
  command.add_option("--trace", options->trace,
                      "record steps FIRST-LAST of every rank in trace.json, for ui.perfetto.dev (output.trace)")
      .type_name("FIRST-LAST");
  command.add_option("--nproc", options->nproc,
                      "start so many ranks on this machine (under mpirun), the cores shared out among them")
      .positive();
  command.add_flag("--print-config", options->print_config,
                    "show the whole resolved configuration as TOML and do nothing else");
  command.footer(
      "A run that was interrupted continues where it stopped when the same command is given again.\n"
      "Examples:\n"
      "  triax train run.toml\n"
      "  triax train run.toml --set train.micro_batch_size=8 --set optimizer.learning_rate=1e-3\n"
      "  triax train run.toml --minutes 30\n"
      "  triax train run.toml --nproc 4 --set parallel.tensor_parallel=2 --set parallel.pipeline_parallel=2\n"
      "  mpirun -n 64 triax train run.toml            (or srun --mpi=pmix ...; see docs/grid.md)\n"
      "`triax config --comments` shows every key and what it means.");
  command.callback([options] { run(*options); });
}

}  // namespace triax::cli
