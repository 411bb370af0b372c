// Predicted labels, one a line: the label alone, the last of tab-separated columns, or a field of a JSON
// object.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "triax/tasks/records.h"

namespace triax::tasks {

struct PredictedLabel {
  std::string id;  // "" without one
  std::string label;
};

// Empty lines are passed over. Throws naming the line of an object without `field`.
std::vector<PredictedLabel> read_labels(const std::filesystem::path& path, const std::string& field,
                                        const std::string& id_field = "id");

}  // namespace triax::tasks
