// Errors are values for people: one sentence that names the thing (file, key, position), what is
// wrong with it and what would be right. Libraries throw; only main() turns an Error into an exit
// status.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace triax {

// Something the user gave us is wrong (a file, a key, a grid). The message is shown as it is.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

// check(n > 0, "{}: n must be positive, not {}", path, n): throws Error when the condition is false.
template <typename... Args>
void check(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    throw Error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace triax
