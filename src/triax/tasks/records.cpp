#include "triax/tasks/records.h"

#include <fmt/core.h>

#include <utility>

#include "triax/base/error.h"
#include "triax/base/log.h"
#include "triax/data/byte_source.h"

namespace triax::tasks {

void refuse(const ReadOptions& options, BadRecords& bad, std::string message) {
  if (!options.skip_bad) fail("{}; correct it, or say --skip-bad (of triax finetune: data.skip_bad = true) to leave such records out", message);
  bad.add(std::move(message));
}

void warn_left_out(const BadRecords& bad, const std::string& path) {
  for (const std::string& example : bad.examples) log_warning("left out: {}", example);
  if (bad.count > bad.examples.size()) log_warning("{}: {} bad records were left out in all", path, bad.count);
}

std::string read_text(const std::filesystem::path& path) {
  const auto source = open_byte_source(path);
  std::string text;
  constexpr size_t kPiece = size_t{1} << 20;
  for (;;) {
    const size_t before = text.size();
    text.resize(before + kPiece);
    const size_t got = source->read(text.data() + before, kPiece);
    text.resize(before + got);
    if (got == 0) break;
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  return text;
}

void for_each_line(std::string_view text, const std::function<void(std::string_view, uint64_t)>& body) {
  uint64_t number = 1;
  for (size_t begin = 0; begin < text.size(); ++number) {
    const size_t newline = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, newline - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    body(line, number);
    begin = newline + 1;
  }
}

std::string place(const std::filesystem::path& path, uint64_t line) {
  return fmt::format("{}:{}", path.string(), line);
}

std::string excerpt(std::string_view text, size_t most) {
  if (text.size() <= most) return std::string(text);
  size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

}  // namespace triax::tasks
