#include "triax/cli/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <optional>

#include "triax/base/error.h"

namespace triax::cli {

const Option& Option::required() const { return option_->required(), *this; }
const Option& Option::type_name(const std::string& name) const { return option_->type_name(name), *this; }
const Option& Option::show_default() const { return option_->capture_default_str(), *this; }
const Option& Option::repeatable() const { return option_->take_all()->allow_extra_args(false), *this; }
const Option& Option::separated_by(char delimiter) const { return option_->delimiter(delimiter), *this; }
const Option& Option::needs(const Option& other) const { return option_->needs(other.option_), *this; }
const Option& Option::positive() const { return option_->check(CLI::PositiveNumber), *this; }
const Option& Option::non_negative() const { return option_->check(CLI::NonNegativeNumber), *this; }
const Option& Option::between(double low, double high) const { return option_->check(CLI::Range(low, high)), *this; }
const Option& Option::one_of(const std::vector<std::string>& names) const { return option_->check(CLI::IsMember(names)), *this; }
const Option& Option::existing_file() const { return option_->check(CLI::ExistingFile), *this; }
const Option& Option::existing_folder() const { return option_->check(CLI::ExistingDirectory), *this; }

Command Command::add_subcommand(const std::string& name, const std::string& help) const {
  return Command(*app_->add_subcommand(name, help));
}

template <class T>
Option Command::add_option(const std::string& names, T& value, const std::string& help) const {
  return Option(app_->add_option(names, value, help));
}
template Option Command::add_option(const std::string&, int&, const std::string&) const;
template Option Command::add_option(const std::string&, int64_t&, const std::string&) const;
template Option Command::add_option(const std::string&, uint64_t&, const std::string&) const;
template Option Command::add_option(const std::string&, double&, const std::string&) const;
template Option Command::add_option(const std::string&, std::string&, const std::string&) const;
template Option Command::add_option(const std::string&, std::filesystem::path&, const std::string&) const;
template Option Command::add_option(const std::string&, std::optional<std::string>&, const std::string&) const;
template Option Command::add_option(const std::string&, std::vector<int64_t>&, const std::string&) const;
template Option Command::add_option(const std::string&, std::vector<double>&, const std::string&) const;
template Option Command::add_option(const std::string&, std::vector<std::string>&, const std::string&) const;
template Option Command::add_option(const std::string&, std::vector<std::filesystem::path>&, const std::string&) const;

Option Command::add_choice(const std::string& names, std::vector<std::string> choices, std::function<void(size_t)> choose,
                           const std::string& help) const {
  CLI::Option* option = app_->add_option_function<std::string>(
      names,
      [choices, choose](const std::string& name) {
        choose(static_cast<size_t>(std::find(choices.begin(), choices.end(), name) - choices.begin()));
      },
      help);
  return Option(option->check(CLI::IsMember(choices)));
}

Option Command::add_flag(const std::string& names, bool& value, const std::string& help) const {
  return Option(app_->add_flag(names, value, help));
}

void Command::footer(const std::string& text) const { app_->footer(text); }
void Command::callback(std::function<void()> run) const { app_->callback(std::move(run)); }
void Command::require_subcommand() const { app_->require_subcommand(1); }
void Command::allow_subcommand() const { app_->require_subcommand(0, 1); }
void Command::keep_options_apart() const { app_->fallthrough(false); }
bool Command::has_subcommand() const { return !app_->get_subcommands().empty(); }
bool Command::has(const std::string& option) const { return app_->count(option) > 0; }

void refuse_existing(const std::vector<std::string>& paths) {
  for (const std::string& path : paths)
    check(path.empty() || !std::filesystem::exists(path), "{} exists already; choose another name, or say --force to replace it", path);
}

}  // namespace triax::cli
