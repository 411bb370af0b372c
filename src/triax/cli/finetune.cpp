#include <fmt/core.h>

#include <memory>
#include <string>
#include <vector>

#include "triax/base/config.h"
#include "triax/base/log.h"
#include "triax/cli/commands.h"
#include "triax/comm/launch.h"
#include "triax/comm/world.h"
#include "triax/finetune/tuner.h"

namespace triax::cli {
namespace {

using namespace finetune;

struct FinetuneFlags {
  std::string task, config;
  std::vector<std::string> overrides;
  bool print_config = false;
  int nproc = 0;
};

int tune(TaskKind kind, const FinetuneConfig& config, World& world) {
  const bool speaks = world.rank() == 0;
  if (!speaks) set_log_prefix(fmt::format("rank {}", world.rank()));
  const TuningResult result = run_tuning(kind, config, {}, &world);
  if (speaks)
    fmt::print("\n{}\nwrote {}/report.html and results.json; the best models are in {}/seed-*/best\n", summary(result), config.output.dir, config.output.dir);
  return 0;
}

void run(const FinetuneFlags& options) {
  const TaskKind kind = task_kind_from(options.task);
  FinetuneConfig config;
  ConfigFields fields(config);
  if (!options.config.empty()) fields.load_file(options.config);
  for (const std::string& assignment : options.overrides) fields.set(assignment);
  if (options.print_config) {
    fmt::print("{}", fields.print(true));
    return;
  }
  if (options.nproc > 0) {
    GridConfig grid = config.parallel;
    grid.fit(options.nproc);  // a grid that does not fit is refused before anything is started
    relaunch_under_mpirun(options.nproc, own_arguments_without("--nproc"));
  }
  WorldOptions waiting;
  waiting.progress.timeout = std::chrono::milliseconds(static_cast<int64_t>(config.parallel.timeout_seconds * 1000));
  run_ranks(waiting, [&](World& world) { return tune(kind, config, world); });
}

}  // namespace

void add_finetune_command(Command app) {
  Command command = app.add_subcommand("finetune", "Tune a BERT for a task: entities, relations, answers, classes, numbers");
  auto o = std::make_shared<FinetuneFlags>();
  command.add_option("task", o->task, "ner, relation, qa, classify, stance, regress or choice").required().type_name("TASK");
  command.add_option("config", o->config, "what to tune, on what, and how; --print-config shows all keys").existing_file().type_name("FILE.toml");
  command.add_option("--set", o->overrides, "override a key: --set train.learning_rate=3e-5; may be said again").type_name("KEY=VALUE");
  command.add_option("--nproc", o->nproc, "start so many ranks on this machine (under mpirun), the grid of [parallel]").positive();
  command.add_flag("--print-config", o->print_config, "print the whole configuration, explained, and stop");
  command.footer(
      "A run that was interrupted is gone on with by the same command.\n"
      "Examples:\n"
      "  triax finetune ner --print-config > ner.toml\n"
      "  triax finetune ner ner.toml --set model.path=bert-base --set 'train.seeds=[1, 2, 3]'\n"
      "  triax finetune qa squad.toml --nproc 4       # or mpirun -n 4 triax finetune qa squad.toml\n"
      "  triax finetune qa squad.toml --nproc 4 --set parallel.tensor_parallel=2 --set parallel.pipeline_parallel=2\n"
      "  triax predict runs/ner/seed-1/best new.jsonl -o tagged.jsonl");
  command.callback([o] { run(*o); });
}

}  // namespace triax::cli
