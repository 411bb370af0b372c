#include <fmt/core.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "triax/base/config.h"
#include "triax/base/file.h"
#include "triax/cli/commands.h"
#include "triax/study/run.h"
#include "triax/study/table.h"

namespace triax::cli {
namespace {

using namespace study;
namespace fs = std::filesystem;

struct StudyFlags {
  std::string config;
  std::vector<std::string> overrides;
  bool print_config = false, dry_run = false, table = false;
};

void show_plan(const StudyPlan& plan, const StudyConfig& config) {
  const auto states = states_of(plan, config.output.dir);
  for (size_t i = 0; i < plan.stages.size(); ++i)
    fmt::print("{:<8} {}\n", states[i] == StageState::done ? "done" : states[i] == StageState::changed ? "changed" : "to do", plan.stages[i].name);
  for (const std::string& note : plan.notes) fmt::print("{}\n", note);
  fmt::print("{} models, {} stages\n", plan.cells.size(), plan.stages.size());
}

void run(const StudyFlags& o) {
  StudyConfig config;
  ConfigFields fields(config);
  if (!o.config.empty()) fields.load_file(o.config);
  for (const std::string& assignment : o.overrides) fields.set(assignment);
  if (o.print_config) {
    fmt::print("{}", fields.print(true));
    return;
  }
  const StudyPlan plan = plan_study(config);
  if (o.dry_run) return show_plan(plan, config);
  const fs::path dir = config.output.dir;
  if (!o.table) {
    for (const std::string& note : plan.notes) fmt::print("{}\n", note);
    run_study(plan, dir, fs::read_symlink("/proc/self/exe").string());
  }
  const auto rows = read_rows(plan);
  write_file_atomic(dir / "study.html", study_page(rows, plan, config));
  write_file_atomic(dir / "study.json", study_json(rows));
  fmt::print("\n{}", text_table(rows));
  if (const std::string effects = text_effects(rows); !effects.empty()) fmt::print("\n{}", effects);
  fmt::print("\nwrote {0}/study.html and {0}/study.json\n", dir.string());
}

}  // namespace

void add_study_command(Command app) {
  Command command = app.add_subcommand("study", "Pretrain and tune a grid of models (vocabulary x corpus x size x start), and compare them");
  auto o = std::make_shared<StudyFlags>();
  command.add_option("config", o->config, "the factors and their levels; --print-config shows all keys").existing_file().type_name("FILE.toml");
  command.add_option("--set", o->overrides, "override a key: --set 'factors.seeds=[1, 2, 3]'; may be said again").type_name("KEY=VALUE");
  command.add_flag("--print-config", o->print_config, "print the whole configuration, explained, and stop");
  command.add_flag("--dry-run", o->dry_run, "list the stages, and which of them are done, and stop");
  command.add_flag("--table", o->table, "the table and the page of what is done so far, without running anything");
  command.footer(
      "A study that was interrupted is gone on with by the same command; what cells share is done once. When a level is\n"
      "added, only what is new runs.\n"
      "Examples:\n"
      "  triax study --print-config > bio.toml\n"
      "  triax study bio.toml --dry-run\n"
      "  triax study bio.toml");
  command.callback([o] { run(*o); });
}

}  // namespace triax::cli
