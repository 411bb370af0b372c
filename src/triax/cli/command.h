// Declaring the command line: CLI11 behind names of our own, because its headers take longer to compile than
// any command does. Both classes are handles, copied freely.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace triax::cli {

// An option or a positional argument; its methods say more about it.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  const Option& required() const;
  const Option& type_name(const std::string& name) const;  // as the help shows it: "FILE"
  const Option& show_default() const;                      // the variable's value as it is now
  const Option& repeatable() const;                        // may be given many times, one value each
  const Option& separated_by(char delimiter) const;
  const Option& needs(const Option& other) const;
  // What is allowed.
  const Option& positive() const;
  const Option& non_negative() const;
  const Option& between(double low, double high) const;
  const Option& one_of(const std::vector<std::string>& names) const;
  const Option& existing_file() const;
  const Option& existing_folder() const;

 private:
  CLI::Option* option_;
};

// `triax` itself, or one of its subcommands.
class Command {
 public:
  explicit Command(CLI::App& app) : app_(&app) {}

  Command add_subcommand(const std::string& name, const std::string& help) const;
  // Names are "-o,--output", or "file" for a positional argument. The variable must outlive the command line.
  // T: int, int64_t, uint64_t, double, std::string, std::filesystem::path, std::optional<std::string>, or a
  // vector of int64_t, double, std::string or path.
  template <class T>
  Option add_option(const std::string& names, T& value, const std::string& help = {}) const;
  // One of several names, each standing for a value.
  template <class T>
  Option add_choice(const std::string& names, T& value, std::initializer_list<std::pair<const char*, T>> choices,
                    const std::string& help = {}) const {
    std::vector<std::string> choice_names;
    std::vector<T> values;
    for (const auto& [name, meaning] : choices) choice_names.emplace_back(name), values.push_back(meaning);
    return add_choice(names, std::move(choice_names), [&value, values](size_t i) { value = values[i]; }, help);
  }
  Option add_flag(const std::string& names, bool& value, const std::string& help = {}) const;  // "!--no-x": sets false

  void footer(const std::string& text) const;
  void callback(std::function<void()> run) const;
  void require_subcommand() const;                  // one
  void allow_subcommand() const;                    // one or none
  void keep_options_apart() const;                  // what it does not know is not offered to the command above
  bool has_subcommand() const;                      // did the user give one?
  bool has(const std::string& option) const;        // did the user give it?

  CLI::App& app() const { return *app_; }

 private:
  Option add_choice(const std::string& names, std::vector<std::string> choices, std::function<void(size_t)> choose,
                    const std::string& help) const;

  CLI::App* app_;
};

// Of outputs, where --force was not said: throws when one is there already. Empty names are none.
void refuse_existing(const std::vector<std::string>& paths);

}  // namespace triax::cli
