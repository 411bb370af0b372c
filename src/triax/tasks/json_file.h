// JSON of task files, for the sources of this module.
#pragma once

#include <string>

#include "triax/base/json.h"

namespace triax::tasks {

// The field's text, "" when it is not there or not a text; numbers as they are written.
std::string string_or(const Json& object, const char* key);

}  // namespace triax::tasks
