#include "triax/cli/usage.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <vector>

#include "triax/base/text.h"

namespace triax::cli {
namespace {

std::vector<std::string> subcommand_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; })) {
    if (!sub->get_group().empty()) names.push_back(sub->get_name());
  }
  return names;
}

// Options of the command and of those above it, "--name".
std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* app = &command; app; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string near = nearest_name(word, candidates);
  return near.empty() ? "" : fmt::format("; did you mean {}?", near);
}

// "--precision: x not in {fp32,bf16}" says to a person: "--precision: x is not one of fp32, bf16".
std::string readable(const std::string& message) {
  constexpr std::string_view kNotIn = " not in {";
  const size_t at = message.find(kNotIn), end = message.rfind('}');
  if (at == std::string::npos || end == std::string::npos) return message;
  const size_t first = at + kNotIn.size();
  return fmt::format("{} is not one of {}", message.substr(0, at),
                     fmt::join(split(std::string_view(message).substr(first, end - first), ','), ", "));
}

}  // namespace

const CLI::App& deepest_command(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  return *command;
}

std::string full_name(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent ? full_name(*parent) + ' ' + command.get_name() : command.get_name();
}

std::string usage_error(const CLI::App& app, const CLI::Error& error) {
  const CLI::App& command = deepest_command(app);
  const std::string name = full_name(command);
  const std::string help = fmt::format(" (see `{} --help`)", name);
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  if (unknown.empty()) return readable(error.what()) + help;
  const std::string& word = unknown.front();
  if (word.size() > 1 && word[0] == '-') {
    const std::string option = word.substr(0, word.find('='));
    return fmt::format("{} has no option {}{}{}", name, option,
                       did_you_mean(option, option_names(command)), help);
  }
  const std::vector<std::string> subcommands = subcommand_names(command);
  if (!subcommands.empty()) {
    return fmt::format("{} has no subcommand {}{}{}", name, word, did_you_mean(word, subcommands),
                       help);
  }
  return fmt::format("{} does not take the argument \"{}\"{}", name, word, help);
}

}  // namespace triax::cli
