#include "triax/cli/usage.h"

#include <fmt/format.h>

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

// "--precision: Check x value in {bf16->1,fp32->0} OR {1,0} FAILED" says to a person:
// "--precision: x is not one of bf16, fp32".
std::string readable(const std::string& message) {
  const size_t check = message.find(": Check "), value = message.find(" value in {"),
               end = message.find('}');
  if (check == std::string::npos || value == std::string::npos || end == std::string::npos)
    return message;
  std::vector<std::string> names;
  for (const std::string& choice :
       split(std::string_view(message).substr(value + 11, end - value - 11), ',')) {
    names.push_back(choice.substr(0, choice.find("->")));
  }
  return fmt::format("{}: {} is not one of {}", message.substr(0, check),
                     message.substr(check + 8, value - check - 8), fmt::join(names, ", "));
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

std::string usage_error(const CLI::App& app, const CLI::ParseError& error) {
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
