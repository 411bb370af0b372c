// Values of the config.json of a Hugging Face model.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "triax/base/error.h"
#include "triax/base/json.h"

namespace triax {

// The value of `key`, or what transformers takes when it is absent or null. `path` is named when it is of another kind.
template <typename T>
T value_or(const Json& json, const char* key, T fallback, const std::string& path) {
  if (!json.contains(key) || json[key].is_null()) return fallback;
  const Json& value = json[key];
  const auto need = [&](bool right) {
    check(right, "{}: \"{}\" is {}, which is not the right kind of value", path, key, value.dump());
  };
  if constexpr (std::is_same_v<T, bool>) return need(value.is_boolean()), value.boolean();
  if constexpr (std::is_same_v<T, std::string>) return need(value.is_text()), value.text();
  if constexpr (std::is_same_v<T, int64_t>) return need(value.is_integer()), value.integer();
  if constexpr (std::is_same_v<T, double>) return need(value.is_number()), value.number();
}

// The same for a number of layers, heads, pieces...: 1 to 2^30.
inline int64_t size_or(const Json& json, const char* key, int64_t fallback, const std::string& path) {
  constexpr int64_t kLargest = int64_t{1} << 30;
  const int64_t value = value_or(json, key, fallback, path);
  check(value >= 1 && value <= kLargest, "{}: \"{}\" is {}, which is not a size", path, key, value);
  return value;
}

}  // namespace triax
