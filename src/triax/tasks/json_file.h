// JSON of task files, for the sources of this module.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace triax::tasks {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;  // objects keep the order of the file

// Throws Error naming the file and the line where it ceases to be JSON.
Json parse_json(std::string_view text, const std::filesystem::path& path);
OrderedJson parse_ordered_json(std::string_view text, const std::filesystem::path& path);

// The field's text, "" when it is not there or not a string; numbers as they are written.
std::string string_or(const Json& object, const char* key);

}  // namespace triax::tasks
