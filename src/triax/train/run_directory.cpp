#include "triax/train/run_directory.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <ctime>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/parallel.h"
#include "triax/base/system.h"
#include "triax/base/text.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

std::string utc_time() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

std::string dump(const Json& object) {
  return object.dump(2) + '\n';
}

Json read_object(const fs::path& path) {
  Json object = Json::parse_or_null(read_file(path));
  check(object.is_object(), "{}: not a JSON object", path.string());
  return object;
}

RunDirectory created(RunDirectory directory, std::string_view config_toml, const Facts& facts) {
  std::error_code error;
  fs::create_directories(directory.path, error);
  check(!error, "cannot create {}: {}", directory.path.string(), error.message());
  write_file_atomic(directory.config(), config_toml);
  write_facts(directory.environment(), facts);
  return directory;
}

}  // namespace

Facts machine_facts() {
  const CpuInfo cpu = cpu_info();
  return {{"triax", TRIAX_VERSION},
          {"started", utc_time()},
          {"host", host_name()},
          {"operating system", operating_system()},
          {"cpu", cpu.model},
          {"cpu features", fmt::format("{}", fmt::join(cpu.features, " "))},
          {"cores", std::to_string(available_cores())},
          {"threads", std::to_string(num_threads())},
          {"memory", format_bytes(static_cast<double>(memory_limit_bytes()))}};
}

void write_facts(const fs::path& path, const Facts& facts) {
  Json object = Json::object();
  for (const auto& [name, value] : facts) object[name] = value;
  write_file_atomic(path, dump(object));
}

Facts read_facts(const fs::path& path) {
  Facts facts;
  const Json object = read_object(path);
  for (const auto& [name, value] : object.members()) {
    facts.emplace_back(name, value.is_text() ? value.text() : value.dump());
  }
  return facts;
}

uint64_t MemoryReport::total() const {
  uint64_t sum = 0;
  for (const MemoryUse& use : predicted) sum += use.bytes;
  return sum;
}

void write_memory(const fs::path& path, const MemoryReport& report) {
  Json rows = Json::array();
  for (const MemoryUse& use : report.predicted)
    rows.push_back({{"purpose", use.purpose}, {"bytes", use.bytes}});
  write_file_atomic(path, dump({{"predicted", rows},
                                {"predicted_total", report.total()},
                                {"peak_resident", report.peak_resident}}));
}

MemoryReport read_memory(const fs::path& path) {
  const Json object = read_object(path);
  MemoryReport report;
  const auto rows = object.find("predicted");
  check(rows && rows->is_array(), "{}: no list \"predicted\"", path.string());
  for (const Json& row : *rows) {
    const bool whole = row.is_object() && row.contains("purpose") && row["purpose"].is_text() &&
                       row.contains("bytes") && row["bytes"].is_integer() && row["bytes"].integer() >= 0;
    check(whole, "{}: a row of \"predicted\" is not {{\"purpose\": text, \"bytes\": number}}",
          path.string());
    report.predicted.push_back({row["purpose"].text(), row["bytes"].count()});
  }
  const auto peak = object.find("peak_resident");
  if (peak && peak->is_integer() && peak->integer() >= 0)
    report.peak_resident = peak->count();
  return report;
}

RunRecorder::RunRecorder(RunDirectory directory, int64_t resumed_step, std::string_view config_toml,
                         const Facts& facts, Console console, bool tensorboard)
    : directory_(created(std::move(directory), config_toml, facts)),
      metrics_(directory_.metrics(), resumed_step),
      samples_(directory_.samples(), resumed_step),
      console_(console) {
  if (resumed_step > 0) {
    double best = 0;
    for (const ValidationMetrics& m : read_metrics(directory_.metrics()).validation) {
      if (std::isfinite(m.loss) && (best == 0 || m.loss < best)) best = m.loss;
    }
    console_.continue_from(best);
  }
  if (!tensorboard) return;
  tensorboard_.emplace(directory_.tensorboard(), resumed_step);
  tensorboard_->text(resumed_step, "config", fmt::format("```toml\n{}```\n", config_toml));
}

void RunRecorder::memory(std::vector<MemoryUse> predicted) {
  memory_.predicted = std::move(predicted);
  write_memory(directory_.memory(), memory_);
  console_.memory_table(memory_.predicted);
}

void RunRecorder::step(const StepMetrics& m) {
  console_.step(m);
  metrics_.append(m);
  if (!tensorboard_) return;
  std::vector<std::pair<std::string, double>> extra;
  for (const auto& [name, value] : m.extra) extra.emplace_back("train/" + name, value);
  std::vector<std::pair<std::string_view, double>> values = {
      {"train/loss", m.loss},
      {"train/learning_rate", m.learning_rate},
      {"train/gradient_norm", m.gradient_norm},
      {"train/consumed_tokens", static_cast<double>(m.consumed_tokens)},
      {"speed/tokens_per_second", m.tokens_per_second},
      {"speed/model_tflops_per_second", m.model_flops_per_second * 1e-12},
      {"speed/step_seconds", m.step_seconds}};
  if (m.mfu > 0) values.emplace_back("speed/mfu", m.mfu);
  if (m.loss_scale > 0) values.emplace_back("train/loss_scale", m.loss_scale);
  if (m.gpu) {
    values.emplace_back("gpu/power_watts", m.gpu->power_watts);
    values.emplace_back("gpu/temperature", m.gpu->temperature);
    values.emplace_back("gpu/memory_bytes", static_cast<double>(m.gpu->memory_bytes));
  }
  for (const auto& [tag, value] : extra) values.emplace_back(tag, value);
  tensorboard_->scalars(m.step, values);
}

void RunRecorder::validation(const ValidationMetrics& m) {
  console_.validation(m);
  metrics_.append(m);
  if (!tensorboard_) return;
  std::vector<std::pair<std::string, double>> extra;
  for (const auto& [name, value] : m.extra) extra.emplace_back("validation/" + name, value);
  std::vector<std::pair<std::string_view, double>> values = {
      {"validation/loss", m.loss}, {"validation/perplexity", m.perplexity()}};
  for (const auto& [tag, value] : extra) values.emplace_back(tag, value);
  tensorboard_->scalars(m.step, values);
}

void RunRecorder::sample(const TextSample& s) {
  console_.sample(s);
  samples_.append(s);
  tensorboard_->text(
      s.step, "sample",
      "    " + fmt::format("{}", fmt::join(split(s.prompt + s.text, '\n'), "\n    ")));
}

void RunRecorder::finish() {
  memory_.peak_resident = peak_resident_bytes() + device_memory_bytes();
  write_memory(directory_.memory(), memory_);
  console_.memory_check(memory_.total(), memory_.peak_resident);
}

}  // namespace triax
