#include "triax/base/config.h"

#include <fmt/core.h>

#include <memory>
#include <string>
#include <vector>

#include "triax/cli/commands.h"
#include "triax/train/run_config.h"

namespace triax::cli {
namespace {

struct ConfigOptions {
  std::string file;
  std::vector<std::string> set;
  bool comments = false, reference = false;
};

void show_config(const ConfigOptions& options) {
  RunConfig run;
  ConfigFields fields(run);
  if (options.reference) {
    fmt::print("{}", fields.reference());
    return;
  }
  if (!options.file.empty()) fields.load_file(options.file);
  for (const std::string& assignment : options.set) fields.set(assignment);
  run.resolve();
  fmt::print("{}", fields.print(options.comments));
}

}  // namespace

void add_config_command(Command app) {
  Command command = app.add_subcommand(
      "config", "Check the configuration of a run and print it whole, with defaults filled in");
  auto options = std::make_shared<ConfigOptions>();
  command.add_option("file", options->file, "TOML file of the run; without one, the defaults");
  command
      .add_option("--set", options->set, "section.key=value, over what the file says (repeatable)")
      .repeatable()
      .type_name("KEY=VALUE");
  command.add_flag("--comments", options->comments, "say what every key means");
  command.add_flag("--reference", options->reference,
                    "print the reference of all keys as Markdown");
  command.footer("Example: triax config run.toml --set train.steps=100 --comments");
  command.callback([options] { show_config(*options); });
}

}  // namespace triax::cli
