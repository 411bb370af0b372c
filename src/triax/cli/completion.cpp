#include <fmt/core.h>

#include <memory>

#include "triax/cli/commands.h"
#include "triax/cli/usage.h"
#include "triax/train/run_config.h"

namespace triax::cli {

void add_completion_command(Command app) {
  Command command = app.add_subcommand("completion", "Print a completion script for your shell");
  auto shell = std::make_shared<std::string>();
  command.add_option("shell", *shell, "bash, zsh or fish")
      .required()
      .one_of({"bash", "zsh", "fish"});
  command.footer("Example: source <(triax completion bash)");
  command.callback([shell, app] {
    RunConfig defaults;
    fmt::print("{}", completion_script(app.app(), ConfigFields(defaults).keys(), *shell));
  });
}

}  // namespace triax::cli
