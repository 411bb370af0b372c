// Configuration: plain structs that list their fields once, filled from TOML and `--set` overrides.
//
//   struct OptimizerConfig {
//     double learning_rate = 3e-4;
//     std::string kind = "adamw";
//     template <class V> void visit(V& v) {
//       v("learning_rate", learning_rate, "peak learning rate").at_least(0);
//       v("kind", kind, "update rule", {"adamw", "adam"});
//     }
//   };
//   struct RunConfig {
//     OptimizerConfig optimizer;
//     template <class V> void visit(V& v) { v.section("optimizer", optimizer, "how weights move");
//     }
//   };
//
// From that one listing come loading (unknown keys, wrong types and values out of range are Errors
// that name file:line, key, value and remedy), `--set optimizer.learning_rate=1e-4`, printing, and
// the reference page. A field is a bool, int64_t, double, std::string, an enum (its names given as
// choices, in the order of its values from 0), or a std::vector of int64_t, double or std::string.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

namespace triax {

// An enum field: `choices` of its ConfigField names the values.
struct ConfigEnum {
  void* value;
  int (*get)(const void*);
  void (*set)(void*, int);
};

// Where a field's value lives.
using ConfigTarget =
    std::variant<bool*, int64_t*, double*, std::string*, ConfigEnum, std::vector<int64_t>*,
                 std::vector<double>*, std::vector<std::string>*>;

struct ConfigField {
  std::string key;  // with its sections: "optimizer.learning_rate"
  ConfigTarget target;
  std::string doc;
  std::vector<std::string> choices;  // empty: any value
  // Allowed numbers (elements, for lists), both ends included.
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();

  ConfigField& at_least(double low) { return minimum = low, *this; }
  ConfigField& between(double low, double high) { return minimum = low, maximum = high, *this; }
};

struct ConfigSection {
  std::string key;
  std::string doc;
};

// What the reference tells about a key.
struct ConfigKey {
  std::string key, type, default_value, doc;  // default_value as TOML
  std::vector<std::string> choices;
};

// All fields of a config struct, in the order in which its visit() lists them, and what is done
// with them. Points into the struct, which must stay where it is.
//
//   RunConfig run;
//   ConfigFields fields(run);
//   fields.load_file("run.toml");
//   fields.set("optimizer.learning_rate=1e-4");
//   check(run.train.steps > 0, "{}: must be positive", fields.name("train.steps"));
class ConfigFields {
 public:
  template <class Config>
  requires requires(Config& c, ConfigFields& f) { c.visit(f); }
  explicit ConfigFields(Config& config) { config.visit(*this); }
  ConfigFields(const ConfigFields&) = delete;
  ConfigFields& operator=(const ConfigFields&) = delete;

  // For visit(): one field; one section of fields.
  template <class T>
  ConfigField& operator()(const char* name, T& value, const char* doc,
                          std::initializer_list<const char*> choices = {}) {
    if constexpr (std::is_enum_v<T>) {
      return add(name, ConfigEnum{&value, [](const void* p) { return static_cast<int>(*static_cast<const T*>(p)); },
                                  [](void* p, int v) { *static_cast<T*>(p) = static_cast<T>(v); }},
                 doc, choices);
    } else {
      return add(name, &value, doc, choices);
    }
  }
  template <class Section>
  void section(const char* name, Section& value, const char* doc) {
    const size_t outer = enter(name, doc);
    value.visit(*this);
    prefix_.resize(outer);
  }

  // Sets what the file sets and leaves the rest. A top-level `include = "base.toml"` (or a list of
  // files) loads those first, relative to the file that names them.
  void load_file(const std::filesystem::path& path);
  // The same for text; `name` stands for the file in messages, and includes are relative to its
  // folder.
  void load_text(std::string_view text, const std::string& name);
  // One `--set` argument, "train.steps=100": the value is read by the field's type; strings need no
  // quotes, lists are "a,b" or "[a, b]".
  void set(std::string_view assignment);

  // Was the key set by a file or by --set?
  bool is_set(const std::string& key) const { return origins_.contains(key); }
  // "run.toml:12: train.steps" for messages about the key's value; only the key if it has its
  // default.
  std::string name(const std::string& key) const;

  // The whole configuration as TOML, with the documentation as comments if wanted. Loading the text
  // gives the same configuration, bit for bit.
  std::string print(bool comments = false) const;
  // Every key with its present value as default_value (make it from a default-constructed Config).
  std::vector<ConfigKey> keys() const;
  // The same as the tables of a Markdown reference page.
  std::string reference() const;

  const std::vector<ConfigField>& fields() const { return fields_; }

 private:
  friend class ConfigLoader;
  ConfigField& add(const char* name, ConfigTarget target, const char* doc, std::initializer_list<const char*> choices);
  size_t enter(const char* section, const char* doc);  // the length of the prefix before
  std::vector<ConfigField> fields_;
  std::vector<ConfigSection> sections_;
  std::map<std::string, std::string> origins_;  // key -> "run.toml:12"
  std::string prefix_;
};

}  // namespace triax
