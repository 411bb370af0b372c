#include "triax/tasks/labels_file.h"

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/tasks/json_file.h"

namespace triax::tasks {

std::vector<PredictedLabel> read_labels(const std::filesystem::path& path, const std::string& field, const std::string& id_field) {
  std::vector<PredictedLabel> labels;
  for_each_line(read_text(path), [&](std::string_view line, uint64_t number) {
    const std::string_view text = trim(line);
    if (text.empty()) return;
    if (text.front() != '{') {
      const size_t tab = text.rfind('\t');
      labels.push_back({"", std::string(trim(tab == std::string_view::npos ? text : text.substr(tab + 1)))});
      return;
    }
    const Json json = Json::parse_or_null(text);
    check(json.is_object(), "{}: not a JSON object", place(path, number));
    std::string label = string_or(json, field.c_str());
    check(!label.empty(), "{}: there is no \"{}\"", place(path, number), field);
    labels.push_back({string_or(json, id_field.c_str()), std::move(label)});
  });
  return labels;
}

}  // namespace triax::tasks
