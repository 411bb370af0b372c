#include <simdjson.h>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/checkpoint/safetensors.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

// {"metadata": {"total_size": bytes}, "weight_map": {tensor: file}}
std::map<std::string, std::string, std::less<>> read_weight_map(const fs::path& path) {
  const std::string json = read_file(path);
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  const simdjson::error_code error = parser.parse(json).get(root);
  check(error == simdjson::SUCCESS, "{}: not valid JSON: {}", path.string(), simdjson::error_message(error));
  simdjson::dom::object map;
  check(root["weight_map"].get(map) == simdjson::SUCCESS, "{}: there is no object \"weight_map\"", path.string());
  std::map<std::string, std::string, std::less<>> shard_of;
  for (const auto field : map) {
    std::string_view file;
    check(field.value.get(file) == simdjson::SUCCESS && !file.empty() && file.front() != '.' &&
              file.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos,
          "{}: \"weight_map\" does not give the name of a file in this directory for tensor {}",
          path.string(), quoted_name(field.key));
    check(shard_of.emplace(field.key, file).second, "{}: \"weight_map\" has tensor {} twice", path.string(),
          quoted_name(field.key));
  }
  return shard_of;
}

}  // namespace

SafetensorsDirectory::SafetensorsDirectory(const fs::path& directory) : directory_(directory) {
  check(fs::is_directory(directory), "{}: not a directory", directory.string());
  if (fs::exists(directory / kIndexFile)) {
    source_ = (directory / kIndexFile).string();
    shard_of_ = read_weight_map(source_);
  } else {
    check(fs::exists(directory / kSingleFile), "{}: there is neither {} nor {} in it", directory.string(),
          kSingleFile, kIndexFile);
    source_ = (directory / kSingleFile).string();
    for (const SafetensorsEntry& entry : shard(kSingleFile).tensors()) shard_of_.emplace(entry.name, kSingleFile);
  }
}

std::vector<std::string> SafetensorsDirectory::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : shard_of_) names.push_back(name);
  return names;
}

const SafetensorsFile& SafetensorsDirectory::shard(const std::string& file) {
  const auto found = shards_.find(file);
  if (found != shards_.end()) return found->second;
  return shards_.emplace(file, SafetensorsFile(directory_ / file)).first->second;
}

const SafetensorsFile& SafetensorsDirectory::file_of(std::string_view name) {
  const auto found = shard_of_.find(name);
  if (found == shard_of_.end()) {
    const std::string nearest = nearest_name(name, names());
    fail("{}: there is no tensor {}{}", source_, quoted_name(name),
         nearest.empty() ? "" : "; the nearest name is " + quoted_name(nearest));
  }
  const SafetensorsFile& file = shard(found->second);
  check(file.find(name) != nullptr, "{}: tensor {} is not in it, though {} says so", file.path().string(),
        quoted_name(name), source_);
  return file;
}

void SafetensorsDirectory::read(std::string_view name, const Tensor& to) {
  const SafetensorsFile& file = file_of(name);
  file.read(file.get(name), to);
}

}  // namespace triax
