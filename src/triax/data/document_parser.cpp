#include <simdjson.h>

#include <algorithm>
#include <utility>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/data/document_reader.h"

namespace triax {
namespace {

// A parser that met a huge line would hold its memory for ever; it is replaced beyond this.
constexpr size_t kKeptCapacity = size_t{8} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

struct DocumentParser::Json {
  simdjson::dom::parser parser;

  // The text of `field`, or an empty view and the reason.
  std::string_view text_of(std::string_view line, const std::string& field, std::string& reason) {
    if (parser.capacity() > kKeptCapacity) parser = simdjson::dom::parser();
    simdjson::dom::element root;
    if (const auto error = parser.parse(line.data(), line.size(), false).get(root)) {
      reason = fmt::format("not JSON ({})", simdjson::error_message(error));
      return {};
    }
    simdjson::dom::object object;
    if (root.get(object) != simdjson::SUCCESS) {
      reason = "not a JSON object";
      return {};
    }
    simdjson::dom::element value;
    bool found = false;
    // All fields are looked at, since of two with one name the last counts.
    for (const auto [key, element] : object)
      if (key == field) value = element, found = true;
    std::string_view text;
    if (!found) {
      reason = fmt::format("the object has no field \"{}\"", field);
    } else if (value.get(text) != simdjson::SUCCESS) {
      reason = fmt::format("the field \"{}\" is not a string", field);
    }
    return text;
  }
};

DocumentParser::DocumentParser(DocumentOptions options) : options_(std::move(options)), json_(std::make_unique<Json>()) {}
DocumentParser::~DocumentParser() = default;

void DocumentParser::refuse(std::string message, BadRecords& bad) const {
  if (!options_.skip_bad) fail("{}; correct it, or say --skip-bad to leave such records out", message);
  bad.add(std::move(message));
}

uint64_t DocumentParser::line_in_file(const DocumentBatch& batch, uint64_t line) {
  const InputPosition& begin = options_.range.begin;
  if (begin.offset == 0 || begin.file != batch.begin.file) return line;
  if (lines_skipped_ == UINT64_MAX) lines_skipped_ = lines_before(*batch.file, begin.offset);
  return line + lines_skipped_;
}

void DocumentParser::parse(const DocumentBatch& batch, const std::function<void(const Document&)>& body, BadRecords& bad) {
  if (batch.size == 0) return;
  switch (batch.format) {
    case DocumentFormat::jsonl: return parse_jsonl(batch, body, bad);
    case DocumentFormat::paragraphs: return parse_paragraphs(batch, body, bad);
    case DocumentFormat::text:
    case DocumentFormat::automatic:
      return give(batch.text(), batch, batch.begin.line, batch.begin.offset, body, bad);
  }
}

void DocumentParser::parse_jsonl(const DocumentBatch& batch, const std::function<void(const Document&)>& body,
                                 BadRecords& bad) {
  const std::string_view all = batch.text();
  uint64_t line_number = batch.begin.line;
  for (size_t begin = 0; begin < all.size(); ++line_number) {
    const size_t newline = all.find('\n', begin);
    const size_t end = newline == std::string_view::npos ? all.size() : newline;
    std::string_view line = all.substr(begin, end - begin);
    const uint64_t offset = batch.begin.offset + begin;
    begin = end + 1;
    if (offset == 0 && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
    if (is_blank(line)) continue;
    std::string reason;
    const std::string_view text = json_->text_of(line, options_.field, reason);
    if (!reason.empty()) {
      refuse(fmt::format("{}:{}: {}", batch.file->string(), line_in_file(batch, line_number), reason), bad);
      continue;
    }
    body({text, *batch.file, line_number, offset});
  }
}

void DocumentParser::parse_paragraphs(const DocumentBatch& batch, const std::function<void(const Document&)>& body,
                                      BadRecords& bad) {
  const std::string_view all = batch.text();
  uint64_t line_number = batch.begin.line, paragraph_line = 0;
  size_t paragraph = 0;  // where the current one begins
  bool inside = false;
  for (size_t begin = 0; begin < all.size(); ++line_number) {
    const size_t newline = all.find('\n', begin);
    const size_t end = newline == std::string_view::npos ? all.size() : newline;
    const bool blank = is_blank(all.substr(begin, end - begin));
    if (!inside && !blank) inside = true, paragraph = begin, paragraph_line = line_number;
    const bool last = end + 1 >= all.size();
    if (inside && (blank || last)) {
      const size_t stop = blank ? begin : end;
      std::string_view text = all.substr(paragraph, stop - paragraph);
      while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
      give(text, batch, paragraph_line, batch.begin.offset + paragraph, body, bad);
      inside = false;
    }
    begin = end + 1;
  }
}

// Plain text that has yet to prove that it is UTF-8.
void DocumentParser::give(std::string_view text, const DocumentBatch& batch, uint64_t line, uint64_t offset,
                          const std::function<void(const Document&)>& body, BadRecords& bad) {
  if (offset == 0 && text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (!simdjson::validate_utf8(text)) {
    const size_t at = find_invalid_utf8(text);
    const auto lines = static_cast<uint64_t>(std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(at), '\n'));
    return refuse(fmt::format("{}:{}: not UTF-8 (byte {:#04x})", batch.file->string(), line_in_file(batch, line + lines),
                              static_cast<unsigned char>(text[at])), bad);
  }
  body({text, *batch.file, line, offset});
}

}  // namespace triax
