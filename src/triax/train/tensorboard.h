// TensorBoard event files, written by hand: records framed with masked CRC-32C (the TFRecord
// format) that hold Event protocol buffers (tensorflow/core/util/event.proto,
// framework/summary.proto).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "triax/train/append_file.h"

namespace triax {

// One event file of a run, `events.out.tfevents.<seconds>.<host>.<pid>.0` in `folder`, made if it
// is missing. A run resumed after `resumed_step` steps says so in its file, and TensorBoard then
// hides what earlier files of the folder hold of later steps. Every call is on disk when it
// returns.
class TensorBoardWriter {
 public:
  TensorBoardWriter(const std::filesystem::path& folder, int64_t resumed_step);

  // All scalars of one step: {"train/loss", 2.5}, ...
  void scalars(int64_t step, std::span<const std::pair<std::string_view, double>> values);
  // Shown as Markdown under the "Text" tab.
  void text(int64_t step, std::string_view tag, std::string_view markdown);

 private:
  AppendFile file_;
};

// CRC-32C (Castagnoli) of RFC 3720.
uint32_t crc32c(std::string_view data);
// One TFRecord: length, masked CRC of the length, payload, masked CRC of the payload.
std::string tf_record(std::string_view payload);
// The bytes of Event messages.
std::string version_event(double wall_time);
std::string restart_event(double wall_time, int64_t first_step);
std::string scalars_event(double wall_time, int64_t step,
                          std::span<const std::pair<std::string_view, double>> values);
std::string text_event(double wall_time, int64_t step, std::string_view tag,
                       std::string_view markdown);

}  // namespace triax
