#include "triax/base/config.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "triax/base/config_print.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/text.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

constexpr int kMaxIncludeDepth = 16;

// ---- a value as it was written, free of the TOML library ---------------------------------------

struct Value {
  std::variant<bool, int64_t, double, std::string, std::vector<Value>> data;
  std::string text;  // for messages
};

// Long values are cut in messages.
std::string shown(const std::string& text) {
  if (text.size() <= 60) return text;
  size_t cut = 57;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  return text.substr(0, cut) + "...";
}

// One assignment being carried out: what to name in an error.
struct Assignment {
  ConfigField& field;
  std::string where;  // "run.toml:12: " or "--set "
};

[[noreturn]] void refuse(const Assignment& a, const Value& value, const std::string& remedy) {
  fail("{}{} = {}: must be {}", a.where, a.field.key, shown(value.text), remedy);
}

void check_choice(const Assignment& a, const Value& value, const std::string& word) {
  const std::vector<std::string>& choices = a.field.choices;
  if (choices.empty() || std::find(choices.begin(), choices.end(), word) != choices.end()) return;
  const std::string near = nearest_name(word, choices);
  refuse(a, value,
         fmt::format("one of {}{}", fmt::join(choices, ", "),
                     near.empty() ? "" : fmt::format("; did you mean {}?", near)));
}

void check_limits(const Assignment& a, const Value& value, double number) {
  if (number >= a.field.minimum && number <= a.field.maximum) return;
  refuse(a, value, limits_in_words(a.field));
}

int64_t to_integer(const Assignment& a, const Value& value) {
  int64_t result = 0;
  if (const auto* integer = std::get_if<int64_t>(&value.data)) {
    result = *integer;
  } else if (const auto* number = std::get_if<double>(&value.data);
             number && std::fabs(*number) <= 0x1p53 && *number == std::floor(*number)) {
    result = static_cast<int64_t>(*number);  // 300e9 tokens
  } else {
    refuse(a, value, "an integer");
  }
  check_limits(a, value, static_cast<double>(result));
  return result;
}

double to_double(const Assignment& a, const Value& value) {
  double result = 0;
  if (const auto* number = std::get_if<double>(&value.data); number && !std::isnan(*number)) {
    result = *number;
  } else if (const auto* integer = std::get_if<int64_t>(&value.data)) {
    result = static_cast<double>(*integer);
  } else {
    refuse(a, value, "a number");
  }
  check_limits(a, value, result);
  return result;
}

std::string to_string(const Assignment& a, const Value& value) {
  const auto* text = std::get_if<std::string>(&value.data);
  if (!text) refuse(a, value, "a string in quotes");
  check_choice(a, value, *text);
  return *text;
}

template <class T, class Convert>
std::vector<T> to_list(const Assignment& a, const Value& value, Convert convert) {
  const auto* items = std::get_if<std::vector<Value>>(&value.data);
  if (!items) refuse(a, value, std::string("a ") + type_name(a.field));
  std::vector<T> list;
  list.reserve(items->size());
  for (const Value& item : *items) list.push_back(convert(a, item));
  return list;
}

void assign(const Assignment& a, const Value& value) {
  std::visit(
      Overload{
          [&](bool* v) {
            const auto* flag = std::get_if<bool>(&value.data);
            if (!flag) refuse(a, value, "true or false");
            *v = *flag;
          },
          [&](int64_t* v) { *v = to_integer(a, value); },
          [&](double* v) { *v = to_double(a, value); },
          [&](std::string* v) { *v = to_string(a, value); },
          [&](ConfigEnum& v) {
            const std::vector<std::string>& choices = a.field.choices;
            const auto name = std::find(choices.begin(), choices.end(), to_string(a, value));
            v.set(v.value, static_cast<int>(name - choices.begin()));
          },
          [&](std::vector<int64_t>* v) { *v = to_list<int64_t>(a, value, to_integer); },
          [&](std::vector<double>* v) { *v = to_list<double>(a, value, to_double); },
          [&](std::vector<std::string>* v) { *v = to_list<std::string>(a, value, to_string); }},
      a.field.target);
}

// ---- reading TOML ------------------------------------------------------------------------------

toml::table parse(std::string_view text, const std::string& name) {
  const size_t invalid = find_invalid_utf8(text);
  check(invalid == std::string_view::npos, "{}:{}: byte {} is not valid UTF-8", name,
        1 + std::count(text.begin(),
                       text.begin() + static_cast<std::ptrdiff_t>(std::min(invalid, text.size())),
                       '\n'),
        invalid);
  try {
    return toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    fail("{}:{}:{}: {}", name, error.source().begin.line, error.source().begin.column,
         error.description());
  }
}

std::string print_node(const toml::node& node) {
  std::ostringstream out;
  if (const auto* text = node.as_string()) {
    out << quote_toml(text->get());
  } else if (const auto* number = node.as_floating_point()) {
    out << print_double(number->get());
  } else if (const auto* array = node.as_array()) {
    out << toml::toml_formatter(*array);
  } else if (node.is_table()) {
    out << "a table";
  } else {
    node.visit([&](const auto& value) { out << toml::toml_formatter(value); });
  }
  return out.str();
}

Value to_value(const toml::node& node, const std::string& what) {
  Value value;
  value.text = print_node(node);
  if (const auto* flag = node.as_boolean()) {
    value.data = flag->get();
  } else if (const auto* integer = node.as_integer()) {
    value.data = integer->get();
  } else if (const auto* number = node.as_floating_point()) {
    value.data = number->get();
  } else if (const auto* text = node.as_string()) {
    value.data = text->get();
  } else if (const auto* array = node.as_array()) {
    std::vector<Value> items;
    for (const toml::node& item : *array) items.push_back(to_value(item, what));
    value.data = std::move(items);
  } else {
    fail("{} = {}: dates and tables are not values of any key", what, shown(value.text));
  }
  return value;
}

// The nearest known key: the same last name in another section, or a small typing mistake.
std::string nearest_key(const std::string& key, const std::vector<ConfigField>& fields) {
  const auto leaf = [](const std::string& k) { return k.substr(k.rfind('.') + 1); };
  std::vector<std::string> known;
  for (const ConfigField& field : fields) {
    if (leaf(field.key) == leaf(key)) return field.key;
    known.push_back(field.key);
  }
  return nearest_name(key, known);
}

[[noreturn]] void unknown_key(const std::string& where, const std::string& key,
                              const std::vector<ConfigField>& fields) {
  const std::string near = nearest_key(key, fields);
  fail("{}unknown key {}; {}", where, key,
       near.empty() ? "see `--print-config` for all keys" : fmt::format("did you mean {}?", near));
}

}  // namespace

// Walks one file's tables and carries out its assignments.
class ConfigLoader {
 public:
  explicit ConfigLoader(ConfigFields& config) : config_(config) {}

  void load(std::string_view text, const std::string& name, int depth) {
    toml::table table = parse(text, name);
    load_includes(table, name, depth);
    table.erase("include");
    walk(table, "", name);
  }

 private:
  void load_includes(const toml::table& table, const std::string& name, int depth) {
    const toml::node* include = table.get("include");
    if (!include) return;
    const std::string where = fmt::format("{}:{}: ", name, include->source().begin.line);
    check(depth < kMaxIncludeDepth,
          "{}includes are nested more than {} deep; does a file include itself?", where,
          kMaxIncludeDepth);
    const auto load_one = [&](const toml::node& node) {
      const auto* text = node.as_string();
      check(text != nullptr, "{}include = {}: must be a file name, or a list of file names", where,
            shown(print_node(node)));
      const fs::path path = fs::path(name).parent_path() / text->get();
      std::string content;
      try {
        content = read_file(path);
      } catch (const Error& error) {
        fail("{}{}", where, error.what());
      }
      load(content, path.string(), depth + 1);
    };
    if (const auto* list = include->as_array()) {
      for (const toml::node& node : *list) load_one(node);
    } else {
      load_one(*include);
    }
  }

  void walk(const toml::table& table, const std::string& prefix, const std::string& name) {
    for (const auto& [key_part, node] : table) {
      const std::string key = prefix + std::string(key_part.str());
      const auto line = key_part.source().begin.line;
      const std::string origin = fmt::format("{}:{}", name, line);
      ConfigField* field = find_field(key);
      if (field) {
        assign({*field, origin + ": "}, to_value(node, fmt::format("{}: {}", origin, key)));
        config_.origins_[key] = origin;
      } else if (is_section(key)) {
        check(node.is_table(), "{}: {} is a section: write [{}] and its keys below", origin, key,
              key);
        walk(*node.as_table(), key + '.', name);
      } else {
        unknown(origin + ": ", key, node.is_table());
      }
    }
  }

  [[noreturn]] void unknown(const std::string& where, const std::string& key, bool is_table) {
    if (is_table) {
      std::vector<std::string> known;
      for (const ConfigSection& section : config_.sections_) known.push_back(section.key);
      const std::string near = nearest_name(key, known);
      fail("{}unknown section {}; {}", where, key,
           near.empty() ? fmt::format("the sections are {}", fmt::join(known, ", "))
                        : fmt::format("did you mean {}?", near));
    }
    unknown_key(where, key, config_.fields_);
  }

  ConfigField* find_field(const std::string& key) {
    for (ConfigField& field : config_.fields_) {
      if (field.key == key) return &field;
    }
    return nullptr;
  }

  bool is_section(const std::string& key) const {
    return std::any_of(config_.sections_.begin(), config_.sections_.end(),
                       [&](const ConfigSection& section) { return section.key == key; });
  }

  ConfigFields& config_;
};

ConfigField& ConfigFields::add(const char* name, ConfigTarget target, const char* doc, std::initializer_list<const char*> choices) {
  ConfigField& field = fields_.emplace_back();
  field.key = prefix_ + name;
  field.target = target;
  field.doc = doc;
  field.choices.assign(choices.begin(), choices.end());
  return field;
}

size_t ConfigFields::enter(const char* section, const char* doc) {
  const size_t outer = prefix_.size();
  prefix_ += section;
  sections_.push_back({prefix_, doc});
  prefix_ += '.';
  return outer;
}

void ConfigFields::load_file(const fs::path& path) {
  load_text(read_file(path), path.string());
}

void ConfigFields::load_text(std::string_view text, const std::string& name) {
  ConfigLoader(*this).load(text, name, 0);
}

// ---- --set -------------------------------------------------------------------------------------

namespace {

template <class Number>
bool read_number(std::string_view text, Number& value) {
  std::string digits;  // TOML's separators: 1_000_000
  std::copy_if(text.begin(), text.end(), std::back_inserter(digits),
               [](char c) { return c != '_'; });
  if (digits.starts_with('+')) digits.erase(0, 1);
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return !digits.empty() && status == std::errc() && end == digits.data() + digits.size();
}

// A bare word of the command line: the narrowest of bool, integer, number, string.
Value word_value(std::string_view word, bool as_string) {
  Value value{std::string(word), std::string(word)};
  if (as_string) return value;
  int64_t integer = 0;
  double number = 0;
  if (word == "true" || word == "false") {
    value.data = word == "true";
  } else if (read_number(word, integer)) {
    value.data = integer;
  } else if (read_number(word, number)) {
    value.data = number;
  }
  return value;
}

Value argument_value(const ConfigField& field, std::string_view text) {
  const bool strings = std::holds_alternative<std::string*>(field.target) ||
                       std::holds_alternative<ConfigEnum>(field.target) ||
                       std::holds_alternative<std::vector<std::string>*>(field.target);
  const bool list = std::holds_alternative<std::vector<int64_t>*>(field.target) ||
                    std::holds_alternative<std::vector<double>*>(field.target) ||
                    std::holds_alternative<std::vector<std::string>*>(field.target);
  if (!list) return word_value(strings ? text : trim(text), strings);
  if (trim(text).starts_with('[')) {
    const std::string name = "--set " + field.key;
    const toml::table table = parse(fmt::format("value = {}", text), name);
    check(table.size() == 1, "{}: must be one list", name);
    return to_value(*table.get("value"), name);
  }
  Value value{std::vector<Value>{}, std::string(text)};
  if (trim(text).empty()) return value;
  for (const std::string& item : split(text, ',')) {
    std::get<std::vector<Value>>(value.data).push_back(word_value(trim(item), strings));
  }
  return value;
}

}  // namespace

void ConfigFields::set(std::string_view assignment) {
  const size_t equals = assignment.find('=');
  check(equals != std::string_view::npos && equals > 0,
        "--set {}: write section.key=value, such as --set train.steps=100", assignment);
  check(find_invalid_utf8(assignment) == std::string_view::npos, "--set {}: not valid UTF-8",
        assignment.substr(0, equals));
  const std::string key(trim(assignment.substr(0, equals)));
  for (ConfigField& field : fields_) {
    if (field.key != key) continue;
    assign({field, "--set "}, argument_value(field, assignment.substr(equals + 1)));
    origins_[key] = "--set";
    return;
  }
  unknown_key("--set: ", key, fields_);
}

std::string ConfigFields::name(const std::string& key) const {
  const auto origin = origins_.find(key);
  if (origin == origins_.end()) return key;
  return origin->second + (origin->second == "--set" ? " " : ": ") + key;
}

}  // namespace triax
