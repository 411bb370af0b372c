#include "triax/base/config_print.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "triax/base/error.h"

namespace triax {

std::string quote_toml(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
          out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
  return out += '"';
}

std::string print_double(double value) {
  std::string text = fmt::format("{}", value);
  if (std::isfinite(value) && text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

const char* type_name(const ConfigField& field) {
  constexpr const char* kNames[] = {
      "bool",   "integer",          "number",          "string",
      "choice", "list of integers", "list of numbers", "list of strings"};
  static_assert(std::size(kNames) == std::variant_size_v<ConfigTarget>);
  const bool chosen = std::holds_alternative<std::string*>(field.target) && !field.choices.empty();
  return chosen ? "choice" : kNames[field.target.index()];
}

namespace {

template <class T, class Print>
std::string print_list(const std::vector<T>& values, Print print) {
  std::string out = "[";
  for (const T& value : values) {
    if (out.size() > 1) out += ", ";
    out += print(value);
  }
  return out += ']';
}

std::string enum_name(const ConfigField& field, const ConfigEnum& e) {
  const int value = e.get(e.value);
  check(value >= 0 && static_cast<size_t>(value) < field.choices.size(),
        "{}: value {} of the enum has no name among its choices", field.key, value);
  return field.choices[static_cast<size_t>(value)];
}

std::string print_value(const ConfigField& field) {
  const auto print_int = [](int64_t v) { return fmt::format("{}", v); };
  return std::visit(
      Overload{[](const bool* v) { return std::string(*v ? "true" : "false"); },
               [&](const int64_t* v) { return print_int(*v); },
               [](const double* v) { return print_double(*v); },
               [](const std::string* v) { return quote_toml(*v); },
               [&](const ConfigEnum& v) { return quote_toml(enum_name(field, v)); },
               [&](const std::vector<int64_t>* v) { return print_list(*v, print_int); },
               [](const std::vector<double>* v) { return print_list(*v, print_double); },
               [](const std::vector<std::string>* v) { return print_list(*v, quote_toml); }},
      field.target);
}

std::string print_limit(double limit) {
  return std::fabs(limit) < 1e15 && limit == std::floor(limit) ? fmt::format("{:.0f}", limit)
                                                               : fmt::format("{}", limit);
}

}  // namespace

std::string limits_in_words(const ConfigField& field) {
  const bool low = std::isfinite(field.minimum), high = std::isfinite(field.maximum);
  if (low && high) {
    return fmt::format("between {} and {}", print_limit(field.minimum), print_limit(field.maximum));
  }
  if (low) return "at least " + print_limit(field.minimum);
  if (high) return "at most " + print_limit(field.maximum);
  return {};
}

namespace {

std::string section_of(const std::string& key) {
  const size_t dot = key.rfind('.');
  return dot == std::string::npos ? "" : key.substr(0, dot);
}

std::string full_doc(const ConfigField& field) {
  std::string doc = field.doc;
  if (!field.choices.empty()) doc += fmt::format(" (one of {})", fmt::join(field.choices, ", "));
  if (const std::string limits = limits_in_words(field); !limits.empty())
    doc += " (" + limits + ")";
  return doc;
}

// The lines of one section's own fields, comments aligned.
std::string print_fields(const std::vector<ConfigField>& fields, const std::string& section,
                         bool comments) {
  constexpr size_t kMaxAlign = 40;
  std::vector<std::pair<std::string, const ConfigField*>> lines;
  size_t width = 0;
  for (const ConfigField& field : fields) {
    if (section_of(field.key) != section) continue;
    std::string line =
        field.key.substr(section.empty() ? 0 : section.size() + 1) + " = " + print_value(field);
    if (line.size() <= kMaxAlign) width = std::max(width, line.size());
    lines.emplace_back(std::move(line), &field);
  }
  std::string out;
  for (const auto& [line, field] : lines) {
    out += comments ? fmt::format("{:<{}}  # {}\n", line, width, full_doc(*field)) : line + '\n';
  }
  return out;
}

}  // namespace

std::string ConfigFields::print(bool comments) const {
  std::string out = print_fields(fields_, "", comments);
  for (const ConfigSection& section : sections_) {
    const std::string body = print_fields(fields_, section.key, comments);
    if (body.empty()) continue;
    if (!out.empty()) out += '\n';
    if (comments) out += fmt::format("# {}\n", section.doc);
    out += fmt::format("[{}]\n{}", section.key, body);
  }
  return out;
}

std::vector<ConfigKey> ConfigFields::keys() const {
  std::vector<ConfigKey> keys;
  for (const ConfigField& field : fields_) {
    keys.push_back(
        {field.key, type_name(field), print_value(field), full_doc(field), field.choices});
  }
  return keys;
}

std::string ConfigFields::reference() const {
  const auto escape = [](std::string text) {  // what would end a table cell
    for (size_t i = 0; (i = text.find('|', i)) != std::string::npos; i += 2)
      text.insert(i, 1, '\\');
    return text;
  };
  const auto table = [&](const std::string& section) {
    std::string rows;
    for (const ConfigField& field : fields_) {
      if (section_of(field.key) != section) continue;
      rows += fmt::format("| `{}` | {} | `{}` | {} |\n",
                          field.key.substr(section.empty() ? 0 : section.size() + 1),
                          type_name(field), escape(print_value(field)), escape(full_doc(field)));
    }
    return rows.empty() ? rows
                        : "| key | type | default | meaning |\n| --- | --- | --- | --- |\n" + rows;
  };
  std::string out = table("");
  for (const ConfigSection& section : sections_) {
    const std::string rows = table(section.key);
    if (rows.empty()) continue;
    out += fmt::format("{}### `[{}]`\n\n{}\n\n{}", out.empty() ? "" : "\n", section.key,
                       section.doc, rows);
  }
  return out;
}

}  // namespace triax
