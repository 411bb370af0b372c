#include "triax/tasks/json_file.h"

namespace triax::tasks {

std::string string_or(const Json& object, const char* key) {
  const Json* found = object.find(key);
  if (!found) return {};
  if (found->is_text()) return found->text();
  return found->is_number() ? found->dump() : std::string();
}

}  // namespace triax::tasks
