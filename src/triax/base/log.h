// Messages to standard error: "info", "warning" and "error" lines, with the time when asked for.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

namespace triax {

enum class LogLevel { debug, info, warning, error, off };

void set_log_level(LogLevel level);
// Text put before every message, such as "rank 3". Empty by default.
void set_log_prefix(std::string prefix);
void log_message(LogLevel level, std::string_view message);

template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log_message(LogLevel::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_message(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_message(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace triax
