#include "triax/tasks/json_file.h"

#include <algorithm>

#include "triax/base/error.h"

namespace triax::tasks {
namespace {

template <typename J>
J parse(std::string_view text, const std::filesystem::path& path) {
  try {
    return J::parse(text.begin(), text.end());
  } catch (const typename J::parse_error& error) {
    const size_t at = std::min<size_t>(error.byte, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    fail("{}:{}: not JSON (byte {} of the file)", path.string(), line, at);
  } catch (const typename J::exception& error) {
    fail("{}: not JSON ({})", path.string(), error.what());
  }
}

}  // namespace

Json parse_json(std::string_view text, const std::filesystem::path& path) { return parse<Json>(text, path); }

OrderedJson parse_ordered_json(std::string_view text, const std::filesystem::path& path) {
  return parse<OrderedJson>(text, path);
}

std::string string_or(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  if (found->is_string()) return found->get<std::string>();
  return found->is_number() ? found->dump() : std::string();
}

}  // namespace triax::tasks
