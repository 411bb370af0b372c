// Completion scripts: the command tree is flattened into tables of words, which a small function in
// each shell's language looks up.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <vector>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/cli/usage.h"

namespace triax::cli {
namespace {

struct Word {
  std::string text, doc;
};

struct OptionWords {
  std::vector<std::string> names;  // "--config", "-c"
  std::string doc;
  bool takes_value = false;
  bool takes_config_key = false;     // --set
  std::vector<std::string> choices;  // of its value; empty: file names
};

struct CommandWords {
  std::string path;  // "bench train"; empty for the root
  std::vector<Word> subcommands;
  std::vector<Word> arguments;  // words that a positional argument may be
  std::vector<OptionWords> options;
};

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// The words of a type name such as "TEXT:{fp32,bf16}" or "ENUM:value in {fp32->0,bf16->1} OR
// {0,1}".
std::vector<std::string> choices_of(const std::string& type) {
  const size_t begin = type.find('{'), end = type.find('}');
  if (begin == std::string::npos || end == std::string::npos || end < begin) return {};
  std::vector<std::string> choices;
  for (const std::string& item : split(type.substr(begin + 1, end - begin - 1), ',')) {
    choices.push_back(item.substr(0, item.find("->")));
  }
  return choices;
}

OptionWords option_words(const CLI::Option& option) {
  OptionWords words;
  for (const std::string& name : option.get_snames()) words.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) words.names.push_back("--" + name);
  words.doc = first_line(option.get_description());
  words.takes_value = option.get_items_expected_max() > 0;
  words.choices = choices_of(option.get_type_name());
  words.takes_config_key = option.check_lname("set");
  return words;
}

void collect(const CLI::App& app, const std::string& path, std::vector<CommandWords>& commands) {
  CommandWords command{path, {}, {}, {}};
  const auto subcommands =
      app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
  for (const CLI::App* sub : subcommands) {
    command.subcommands.push_back({sub->get_name(), first_line(sub->get_description())});
  }
  for (const CLI::Option* option : app.get_options()) {
    if (option->nonpositional()) continue;
    for (const std::string& choice : choices_of(option->get_type_name())) {
      command.arguments.push_back({choice, first_line(option->get_description())});
    }
  }
  for (const CLI::App* level = &app; level; level = level->get_parent()) {
    for (const CLI::Option* option : level->get_options()) {
      const bool own = option->check_lname("help") || option->check_lname("version");
      if (option->nonpositional() && (level == &app || !own))
        command.options.push_back(option_words(*option));
    }
  }
  commands.push_back(std::move(command));
  for (const CLI::App* sub : subcommands) {
    collect(*sub, path.empty() ? sub->get_name() : path + ' ' + sub->get_name(), commands);
  }
}

// "key=" for every key, and "key=choice" where the choices are known.
std::vector<Word> key_words(std::span<const ConfigKey> keys) {
  std::vector<Word> words;
  for (const ConfigKey& key : keys) {
    if (key.choices.empty()) words.push_back({key.key + '=', key.doc});
    for (const std::string& choice : key.choices)
      words.push_back({key.key + '=' + choice, key.doc});
  }
  return words;
}

std::string single_quoted(std::string text) {
  for (size_t i = 0; (i = text.find('\'', i)) != std::string::npos; i += 4)
    text.replace(i, 1, "'\\''");
  return '\'' + text + '\'';
}

std::string joined(const std::vector<Word>& words) {
  std::string out;
  for (const Word& word : words) out += (out.empty() ? "" : " ") + word.text;
  return out;
}

// Shell `case` arms that step from a command path to that of its subcommand.
std::string path_arms(const std::vector<CommandWords>& commands, const char* indent) {
  std::string out;
  for (const CommandWords& command : commands) {
    for (const Word& sub : command.subcommands) {
      const std::string path = command.path.empty() ? sub.text : command.path + ' ' + sub.text;
      out += fmt::format("{}\"{}|{}\") here=\"{}\" ;;\n", indent, command.path, sub.text, path);
    }
  }
  return out;
}

// The patterns "path|--option" of one option.
std::string value_pattern(const CommandWords& command, const OptionWords& option) {
  std::string out;
  for (const std::string& name : option.names) {
    out += fmt::format("{}\"{}|{}\"", out.empty() ? "" : "|", command.path, name);
  }
  return out;
}

std::string bash_script(const std::vector<CommandWords>& commands, const std::vector<Word>& keys) {
  std::string values, words;
  for (const CommandWords& command : commands) {
    std::vector<Word> here = command.subcommands;
    here.insert(here.end(), command.arguments.begin(), command.arguments.end());
    for (const OptionWords& option : command.options) {
      for (const std::string& name : option.names) {
        if (name.starts_with("--")) here.push_back({name, ""});
      }
      if (!option.takes_value) continue;
      const std::string list = option.takes_config_key
                                   ? "$_triax_keys"
                                   : fmt::format("{}", fmt::join(option.choices, " "));
      values +=
          fmt::format("    {}) list=\"{}\"; value=1 ;;\n", value_pattern(command, option), list);
    }
    words += fmt::format("      \"{}\") list=\"{}\" ;;\n", command.path, joined(here));
  }
  // bash splits words at "=": the word under the cursor and the one before are put together again.
  return fmt::format(R"(# bash completion of triax; load it with: source <(triax completion bash)
_triax_keys="{}"
_triax() {{
  local here="" list="" value="" word i
  local cur="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" head=""
  if [[ $cur == "=" ]]; then
    head="$before="; before="${{COMP_WORDS[COMP_CWORD-2]}}"; cur=""
  elif [[ $before == "=" && $COMP_CWORD -gt 2 ]]; then
    head="${{COMP_WORDS[COMP_CWORD-2]}}="; before="${{COMP_WORDS[COMP_CWORD-3]}}"
  fi
  if [[ $head == --* ]]; then before="${{head%=}}"; head=""; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${{COMP_WORDS[i]}}"
    case "$here|$word" in
{}    esac
  done
  case "$here|$before" in
{}  esac
  if [[ -z $value ]]; then
    case "$here" in
{}    esac
  fi
  COMPREPLY=()
  if [[ -n $list ]]; then
    for word in $(compgen -W "$list" -- "$head$cur"); do
      [[ $word == *= ]] && compopt -o nospace 2>/dev/null
      COMPREPLY+=("${{word#"$head"}}")
    done
  fi
  if [[ ${{#COMPREPLY[@]}} -eq 0 && $cur != -* ]]; then
    compopt -o filenames 2>/dev/null
    while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$cur")
  fi
}}
complete -F _triax triax
)",
                     joined(keys), path_arms(commands, "      "), values, words);
}

// An entry of zsh's _describe: a colon separates word and description.
std::string zsh_entry(const Word& word) {
  std::string text = word.text;
  for (size_t i = 0; (i = text.find(':', i)) != std::string::npos; i += 2) text.insert(i, 1, '\\');
  return single_quoted(text + ':' + word.doc);
}

std::string zsh_list(const std::vector<Word>& words) {
  std::string out;
  for (const Word& word : words) out += (out.empty() ? "" : " ") + zsh_entry(word);
  return out;
}

std::string zsh_script(const std::vector<CommandWords>& commands, const std::vector<Word>& keys) {
  std::string values, words;
  for (const CommandWords& command : commands) {
    std::vector<Word> options;
    for (const OptionWords& option : command.options) {
      for (const std::string& name : option.names) options.push_back({name, option.doc});
      if (!option.takes_value) continue;
      std::string action = "_files";
      if (option.takes_config_key) action = "_describe -t keys 'key' keys -S ''";
      if (!option.choices.empty())
        action = fmt::format("compadd -- {}", fmt::join(option.choices, " "));
      values += fmt::format("    {}) {}; return ;;\n", value_pattern(command, option), action);
    }
    std::vector<Word> plain = command.subcommands;
    plain.insert(plain.end(), command.arguments.begin(), command.arguments.end());
    words += fmt::format("    \"{}\")\n      commands=({})\n      options=({}) ;;\n", command.path,
                         zsh_list(plain), zsh_list(options));
  }
  return fmt::format(R"(#compdef triax
# zsh completion of triax; put it into a folder of $fpath under the name _triax:
#   triax completion zsh > "${{fpath[1]}}/_triax"
_triax() {{
  local here="" i
  local -a commands options keys
  keys=({})
  for ((i = 2; i < CURRENT; i++)); do
    case "$here|$words[i]" in
{}    esac
  done
  case "$here|$words[CURRENT-1]" in
{}  esac
  case "$here" in
{}  esac
  if [[ $words[CURRENT] == -* ]]; then
    _describe -t options 'option' options
  elif (( $#commands )); then
    _describe -t commands 'command' commands
  else
    _files
  fi
}}
if [[ $funcstack[1] == _triax ]]; then _triax "$@"; else compdef _triax triax; fi
)",
                     zsh_list(keys), path_arms(commands, "      "), values, words);
}

// Inside single quotes fish escapes with backslashes.
std::string fish_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + '\'';
}

std::string fish_script(const std::vector<CommandWords>& commands, const std::vector<Word>& keys) {
  std::string arms, lines, key_lines;
  for (const CommandWords& command : commands) {
    const std::string at = fmt::format("complete -c triax -n '__triax_at \"{}\"'", command.path);
    for (const Word& sub : command.subcommands) {
      const std::string path = command.path.empty() ? sub.text : command.path + ' ' + sub.text;
      arms += fmt::format("            case '{}|{}'\n                set path '{}'\n", command.path,
                          sub.text, path);
      lines += fmt::format("{} -f -a {} -d {}\n", at, fish_quoted(sub.text), fish_quoted(sub.doc));
    }
    for (const Word& word : command.arguments) {
      lines +=
          fmt::format("{} -f -a {} -d {}\n", at, fish_quoted(word.text), fish_quoted(word.doc));
    }
    for (const OptionWords& option : command.options) {
      std::string line = at;
      for (const std::string& name : option.names) {
        line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (option.takes_config_key) {
        line += " -x -a '(__triax_keys)'";
      } else if (!option.choices.empty()) {
        line += fmt::format(" -x -a {}",
                            fish_quoted(fmt::format("{}", fmt::join(option.choices, " "))));
      } else if (option.takes_value) {
        line += " -r";
      }
      lines += fmt::format("{} -d {}\n", line, fish_quoted(option.doc));
    }
  }
  for (const Word& key : keys)
    key_lines += fmt::format("    echo {}\n", fish_quoted(key.text + '\t' + key.doc));
  return fmt::format(R"(# fish completion of triax; load it with: triax completion fish | source
function __triax_at
    set -l path ''
    set -l words (commandline -opc)
    for word in $words[2..-1]
        switch "$path|$word"
{}        end
    end
    test "$path" = "$argv[1]"
end
function __triax_keys
{}end
{})",
                     arms, key_lines, lines);
}

}  // namespace

std::string completion_script(const CLI::App& app, std::span<const ConfigKey> keys,
                              const std::string& shell) {
  std::vector<CommandWords> commands;
  collect(app, "", commands);
  const std::vector<Word> words = key_words(keys);
  if (shell == "bash") return bash_script(commands, words);
  if (shell == "zsh") return zsh_script(commands, words);
  check(shell == "fish", "there is no completion for the shell \"{}\"; choose bash, zsh or fish",
        shell);
  return fish_script(commands, words);
}

}  // namespace triax::cli
