// What the command line tells about itself: hints for mistakes, completion scripts for shells.
#pragma once

#include <span>
#include <string>

#include "triax/base/config.h"

namespace CLI {
class App;
class Error;
}  // namespace CLI

namespace triax::cli {

// One sentence for arguments that CLI11 refused: what is wrong, what was probably meant, where the
// help is. `app` is the root, as the failed parse left it.
std::string usage_error(const CLI::App& app, const CLI::Error& error);

// The command the parse got to: "triax bench train".
const CLI::App& deepest_command(const CLI::App& app);
std::string full_name(const CLI::App& command);

// A script that completes every subcommand, option and choice of `app`, and after --set the keys of
// a run's configuration. `shell` is bash, zsh or fish.
std::string completion_script(const CLI::App& app, std::span<const ConfigKey> keys,
                              const std::string& shell);

}  // namespace triax::cli
