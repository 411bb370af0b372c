#include "triax/train/metrics.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/log.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

std::string dump_line(const Json& object) {
  // Bytes that are not UTF-8 (a token can end within a character) become U+FFFD.
  return object.dump() + '\n';
}

double unix_time() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::round(std::chrono::duration<double>(now).count() * 1e3) / 1e3;
}

void add_extra(Json& object, const std::vector<std::pair<std::string, double>>& extra) {
  if (extra.empty()) return;
  Json& values = object["extra"] = Json::object();
  for (const auto& [name, value] : extra) values[name] = value;
}

// The object on one line if it is a whole JSON object with a plausible step.
std::optional<Json> parse_line(std::string_view line) {
  constexpr int64_t kMaxStep = int64_t{1} << 53;
  Json object = Json::parse_or_null(line);
  if (!object.is_object()) return std::nullopt;
  const auto step = object.find("step");
  if (!step || !step->is_integer()) return std::nullopt;
  const auto value = step->integer();
  if (value < 0 || value > kMaxStep) return std::nullopt;
  return object;
}

template <class Visit>
void for_each_line(std::string_view content, Visit visit) {
  while (!content.empty()) {
    const size_t end = content.find('\n');
    const std::string_view line = content.substr(0, end);
    if (!line.empty()) visit(line);
    content.remove_prefix(end == std::string_view::npos ? content.size() : end + 1);
  }
}

// Leaves the lines up to `resumed_step`; gives the path back.
const fs::path& keep_history(const fs::path& path, int64_t resumed_step) {
  if (!fs::exists(path)) return path;
  std::string kept;
  int64_t damaged = 0;
  const std::string content = resumed_step > 0 ? read_file(path) : std::string();
  for_each_line(content, [&](std::string_view line) {
    const std::optional<Json> object = parse_line(line);
    if (!object) {
      ++damaged;
    } else if (object->at("step").integer() <= resumed_step) {
      kept.append(line).push_back('\n');
    }
  });
  if (damaged > 0) log_warning("{}: dropped {} damaged lines", path.string(), damaged);
  if (resumed_step <= 0 || kept != content) write_file_atomic(path, kept);
  return path;
}

double number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (!found) return 0;
  return found->is_number() ? found->number() : std::numeric_limits<double>::quiet_NaN();
}

int64_t integer(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found && found->is_integer() ? found->integer() : 0;
}

std::string text(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found && found->is_text() ? found->text() : std::string();
}

std::vector<std::pair<std::string, double>> extra(const Json& object) {
  std::vector<std::pair<std::string, double>> values;
  const auto found = object.find("extra");
  if (!found || !found->is_object()) return values;
  for (const auto& [name, value] : found->members())
    values.emplace_back(name, number(*found, name.c_str()));
  return values;
}

StepMetrics step_metrics(const Json& object) {
  StepMetrics m;
  m.step = integer(object, "step");
  m.total_steps = integer(object, "total_steps");
  m.loss = number(object, "loss");
  m.learning_rate = number(object, "learning_rate");
  m.gradient_norm = number(object, "gradient_norm");
  m.tokens_per_second = number(object, "tokens_per_second");
  m.model_flops_per_second = number(object, "model_flops_per_second");
  m.mfu = number(object, "mfu");
  m.step_seconds = number(object, "step_seconds");
  m.consumed_tokens = integer(object, "consumed_tokens");
  m.loss_scale = number(object, "loss_scale");
  if (const Json* skipped = object.find("skipped")) m.skipped = *skipped == Json(true);
  if (const auto gpu = object.find("gpu"); gpu && gpu->is_object())
    m.gpu = GpuFigures{.power_watts = number(*gpu, "power_watts"), .temperature = number(*gpu, "temperature"),
                       .memory_bytes = static_cast<uint64_t>(std::max<int64_t>(0, integer(*gpu, "memory_bytes"))),
                       .held_back_by = text(*gpu, "held_back_by")};
  m.extra = extra(object);
  return m;
}

ValidationMetrics validation_metrics(const Json& object) {
  ValidationMetrics m;
  m.step = integer(object, "step");
  m.total_steps = integer(object, "total_steps");
  m.loss = number(object, "loss");
  m.tokens = integer(object, "tokens");
  m.seconds = number(object, "seconds");
  m.consumed_tokens = integer(object, "consumed_tokens");
  m.extra = extra(object);
  return m;
}

}  // namespace

double ValidationMetrics::perplexity() const {
  for (const auto& [name, value] : extra)
    if (name == "lm_loss") return std::exp(value);
  return std::exp(loss);
}

JsonLines::JsonLines(const fs::path& path, int64_t resumed_step)
    : file_(keep_history(path, resumed_step)) {}

void JsonLines::append(const StepMetrics& m) {
  Json object = {{"kind", "train"},
                 {"step", m.step},
                 {"total_steps", m.total_steps},
                 {"loss", m.loss},
                 {"learning_rate", m.learning_rate},
                 {"gradient_norm", m.gradient_norm},
                 {"tokens_per_second", m.tokens_per_second},
                 {"model_flops_per_second", m.model_flops_per_second},
                 {"mfu", m.mfu},
                 {"step_seconds", m.step_seconds},
                 {"consumed_tokens", m.consumed_tokens}};
  if (m.loss_scale != 0) object["loss_scale"] = m.loss_scale;
  if (m.skipped) object["skipped"] = true;
  if (m.gpu) {
    Json& gpu = object["gpu"] = {{"power_watts", m.gpu->power_watts}, {"temperature", m.gpu->temperature},
                                 {"memory_bytes", static_cast<int64_t>(m.gpu->memory_bytes)}};
    if (!m.gpu->held_back_by.empty()) gpu["held_back_by"] = m.gpu->held_back_by;
  }
  add_extra(object, m.extra);
  object["time"] = unix_time();
  file_.append(dump_line(object));
}

void JsonLines::append(const ValidationMetrics& m) {
  Json object = {{"kind", "validation"},
                 {"step", m.step},
                 {"total_steps", m.total_steps},
                 {"loss", m.loss},
                 {"tokens", m.tokens},
                 {"seconds", m.seconds},
                 {"consumed_tokens", m.consumed_tokens}};
  add_extra(object, m.extra);
  object["time"] = unix_time();
  file_.append(dump_line(object));
}

void JsonLines::append(const TextSample& s) {
  file_.append(
      dump_line({{"step", s.step}, {"prompt", s.prompt}, {"text", s.text}, {"time", unix_time()}}));
}

MetricsHistory read_metrics(const fs::path& path) {
  MetricsHistory history;
  const std::string content = read_file(path);
  for_each_line(content, [&](std::string_view line) {
    const std::optional<Json> object = parse_line(line);
    const std::string kind = object ? text(*object, "kind") : std::string();
    if (kind == "train") {
      history.train.push_back(step_metrics(*object));
    } else if (kind == "validation") {
      history.validation.push_back(validation_metrics(*object));
    } else if (!object) {
      ++history.damaged_lines;
    }
  });
  return history;
}

std::vector<TextSample> read_samples(const fs::path& path) {
  std::vector<TextSample> samples;
  const std::string content = read_file(path);
  for_each_line(content, [&](std::string_view line) {
    const std::optional<Json> object = parse_line(line);
    if (object)
      samples.push_back({integer(*object, "step"), text(*object, "prompt"), text(*object, "text")});
  });
  return samples;
}

}  // namespace triax
