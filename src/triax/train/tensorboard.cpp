#include "triax/train/tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>

#include "triax/base/error.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "the formats below are little-endian");

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

template <class T>
void append_bytes(std::string& out, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

// ---- protocol buffers: the four wire types ------------------------------------------------------

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void put_varint(std::string& out, uint32_t field, uint64_t value) {
  append_varint(out, field << 3 | 0);
  append_varint(out, value);
}

void put_double(std::string& out, uint32_t field, double value) {
  append_varint(out, field << 3 | 1);
  append_bytes(out, value);
}

void put_bytes(std::string& out, uint32_t field, std::string_view value) {
  append_varint(out, field << 3 | 2);
  append_varint(out, value.size());
  out += value;
}

void put_float(std::string& out, uint32_t field, float value) {
  append_varint(out, field << 3 | 5);
  append_bytes(out, value);
}

std::string event(double time, int64_t step) {
  std::string out;
  put_double(out, 1, time);                                        // Event.wall_time
  if (step != 0) put_varint(out, 2, static_cast<uint64_t>(step));  // Event.step
  return out;
}

// ---- records ------------------------------------------------------------------------------------

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = c >> 1 ^ (c & 1 ? 0x82F63B78u : 0u);
    table[i] = c;
  }
  return table;
}();

uint32_t masked_crc(std::string_view data) {
  const uint32_t crc = crc32c(data);
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

fs::path event_file(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  check(!error, "cannot create {}: {}", folder.string(), error.message());
  char host[256] = "localhost";
  if (::gethostname(host, sizeof host - 1) != 0) std::strcpy(host, "localhost");
  return folder / fmt::format("events.out.tfevents.{:010d}.{}.{}.0",
                              static_cast<int64_t>(wall_time()), host, ::getpid());
}

}  // namespace

uint32_t crc32c(std::string_view data) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : data)
    crc = kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFF] ^ crc >> 8;
  return crc ^ 0xFFFFFFFFu;
}

std::string tf_record(std::string_view payload) {
  std::string out;
  append_bytes(out, static_cast<uint64_t>(payload.size()));
  append_bytes(out, masked_crc(out));
  out += payload;
  append_bytes(out, masked_crc(payload));
  return out;
}

std::string version_event(double time) {
  std::string out;
  put_double(out, 1, time);
  put_bytes(out, 3, "brain.Event:2");  // Event.file_version
  return out;
}

std::string restart_event(double time, int64_t first_step) {
  std::string log;
  put_varint(log, 1, 1);  // SessionLog.status = START
  std::string out = event(time, first_step);
  put_bytes(out, 7, log);  // Event.session_log
  return out;
}

std::string scalars_event(double time, int64_t step,
                          std::span<const std::pair<std::string_view, double>> values) {
  std::string summary;
  for (const auto& [tag, number] : values) {
    std::string value;
    put_bytes(value, 1, tag);                         // Value.tag
    put_float(value, 2, static_cast<float>(number));  // Value.simple_value
    put_bytes(summary, 1, value);                     // Summary.value
  }
  std::string out = event(time, step);
  put_bytes(out, 5, summary);  // Event.summary
  return out;
}

std::string text_event(double time, int64_t step, std::string_view tag, std::string_view markdown) {
  constexpr uint64_t kStringType = 7, kTensorClass = 2;
  std::string plugin, metadata, tensor, value, summary;
  put_bytes(plugin, 1, "text");           // PluginData.plugin_name
  put_bytes(metadata, 1, plugin);         // SummaryMetadata.plugin_data
  put_varint(metadata, 4, kTensorClass);  // SummaryMetadata.data_class
  put_varint(tensor, 1, kStringType);     // TensorProto.dtype
  put_bytes(tensor, 2, "");               // TensorProto.tensor_shape: a scalar
  put_bytes(tensor, 8, markdown);         // TensorProto.string_val
  put_bytes(value, 1, tag);               // Value.tag
  put_bytes(value, 8, tensor);            // Value.tensor
  put_bytes(value, 9, metadata);          // Value.metadata
  put_bytes(summary, 1, value);
  std::string out = event(time, step);
  put_bytes(out, 5, summary);
  return out;
}

TensorBoardWriter::TensorBoardWriter(const fs::path& folder, int64_t resumed_step)
    : file_(event_file(folder)) {
  file_.append(tf_record(version_event(wall_time())));
  if (resumed_step > 0) file_.append(tf_record(restart_event(wall_time(), resumed_step + 1)));
}

void TensorBoardWriter::scalars(int64_t step,
                                std::span<const std::pair<std::string_view, double>> values) {
  file_.append(tf_record(scalars_event(wall_time(), step, values)));
}

void TensorBoardWriter::text(int64_t step, std::string_view tag, std::string_view markdown) {
  file_.append(tf_record(text_event(wall_time(), step, tag, markdown)));
}

}  // namespace triax
