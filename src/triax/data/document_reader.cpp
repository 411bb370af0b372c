#include "triax/data/document_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/data/byte_source.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

constexpr size_t kReadBytes = size_t{256} << 10;
constexpr size_t kPadding = 64;  // at least what simdjson asks for
constexpr size_t kExamples = 5;
constexpr size_t kNone = std::string::npos;

DocumentFormat format_of(const fs::path& path, DocumentFormat wanted) {
  if (wanted != DocumentFormat::automatic) return wanted;
  fs::path name = path.filename();
  if (name.extension() == ".gz" || name.extension() == ".zst") name.replace_extension();
  const std::string extension = name.extension().string();
  if (extension == ".jsonl" || extension == ".json" || extension == ".ndjson") return DocumentFormat::jsonl;
  if (extension == ".txt" || extension == ".text" || extension == ".md") return DocumentFormat::text;
  fail("{}: the name does not tell whether this is JSON lines or text; say --format jsonl, text or paragraphs",
       path.string());
}

uint64_t count_lines(std::string_view text) {
  return static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n'));
}

// Where the last blank line of `text` that begins at or after `from` ends; kNone when there is none.
size_t end_of_last_blank_line(std::string_view text, size_t from) {
  for (size_t end = text.rfind('\n'); end != kNone && end >= from; end = end > 0 ? text.rfind('\n', end - 1) : kNone) {
    const size_t before = end > 0 ? text.rfind('\n', end - 1) : kNone;
    const size_t begin = before == kNone ? 0 : before + 1;
    if (is_blank(text.substr(begin, end - begin))) return end + 1;
    if (before == kNone || before < from) break;
  }
  return kNone;
}

// End of the first record of `text`; kNone when it is not whole.
size_t end_of_first_record(std::string_view text, DocumentFormat format) {
  if (format == DocumentFormat::text) return kNone;
  for (size_t begin = 0;;) {
    const size_t newline = text.find('\n', begin);
    if (newline == kNone) return kNone;
    const bool ends = format == DocumentFormat::jsonl ||
                      (begin > 0 && is_blank(text.substr(begin, newline - begin)));
    if (ends) return newline + 1;
    begin = newline + 1;
  }
}

}  // namespace

DocumentFormat document_format_from(std::string_view name) {
  if (name == "auto") return DocumentFormat::automatic;
  if (name == "jsonl") return DocumentFormat::jsonl;
  if (name == "text") return DocumentFormat::text;
  if (name == "paragraphs") return DocumentFormat::paragraphs;
  fail("\"{}\" is not a format of documents; use auto, jsonl, text or paragraphs", name);
}

void BadRecords::add(std::string message) {
  ++count;
  if (examples.size() < kExamples) examples.push_back(std::move(message));
}

void BadRecords::add(const BadRecords& other) {
  count += other.count;
  for (const std::string& example : other.examples)
    if (examples.size() < kExamples) examples.push_back(example);
}

// The file being read.
struct DocumentReader::Input {
  std::shared_ptr<const fs::path> path;
  DocumentFormat format;
  std::unique_ptr<ByteSource> source;
  bool ended = false;
};

DocumentReader::DocumentReader(std::vector<fs::path> files, DocumentOptions options)
    : DocumentReader(std::move(files), options, options.range.begin) {}

DocumentReader::DocumentReader(std::vector<fs::path> files, DocumentOptions options, InputPosition start)
    : files_(std::move(files)), options_(std::move(options)), position_(start) {
  check(options_.batch_bytes > 0 && options_.max_document_bytes > 0, "sizes of batches and documents must be positive");
  for (size_t i = 0; i < files_.size(); ++i) {
    open_byte_source(files_[i]);
    format_of(files_[i], options_.format);
    std::error_code error;
    const auto size = fs::file_size(files_[i], error);  // none for a pipe
    if (error) continue;
    total_bytes_ += size;
    if (i < start.file) bytes_of_closed_files_ += size;
  }
}

DocumentReader::~DocumentReader() = default;

uint64_t DocumentReader::bytes_read() const {
  return bytes_of_closed_files_ + (input_ ? input_->source->stored_bytes() : 0);
}

bool DocumentReader::at_end() const {
  const InputRange& range = options_.range;
  return position_.file >= files_.size() || position_.file > range.end_file ||
         (position_.file == range.end_file && position_.offset >= range.end_offset);
}

uint64_t DocumentReader::line_in_file() const {
  const InputPosition& begin = options_.range.begin;
  if (begin.offset == 0 || begin.file != position_.file) return position_.line;
  return position_.line + lines_before(files_[begin.file], begin.offset);
}

// Opens the file of position_ and goes to its offset. False when there are no more files.
bool DocumentReader::open_next() {
  if (at_end()) return false;
  const fs::path& path = files_[position_.file];
  input_ = std::make_unique<Input>();
  input_->path = std::make_shared<const fs::path>(path);
  input_->format = format_of(path, options_.format);
  input_->source = open_byte_source(path);
  if (position_.offset > 0) input_->source->skip(position_.offset);
  pending_.clear();
  return true;
}

// Reads more of the current file. False at its end.
bool DocumentReader::fill() {
  if (input_->ended) return false;
  const size_t before = pending_.size();
  uint64_t wanted = std::min<uint64_t>(kReadBytes, options_.batch_bytes);
  if (position_.file == options_.range.end_file)
    wanted = std::min(wanted, options_.range.end_offset - position_.offset - before);
  pending_.resize(before + wanted);
  const size_t n = wanted > 0 ? input_->source->read(pending_.data() + before, wanted) : 0;
  pending_.resize(before + n);
  input_->ended = n == 0;
  return n > 0;
}

// End of the last whole record in pending_, looking only at what came from `from` on; kNone when no
// record ends there.
size_t DocumentReader::record_end(size_t from) const {
  if (input_->ended) return pending_.size();
  if (input_->format == DocumentFormat::text) return kNone;
  if (input_->format == DocumentFormat::paragraphs) return end_of_last_blank_line(pending_, from);
  const size_t newline = pending_.rfind('\n');
  return newline == kNone || newline < from ? kNone : newline + 1;
}

bool DocumentReader::next(DocumentBatch& batch) {
  batch.too_long = {};
  for (;;) {
    if (!input_ && !open_next()) return false;
    while (pending_.size() < options_.batch_bytes && fill()) {
    }
    size_t looked_at = 0, end = record_end(0);
    while (end == kNone && pending_.size() <= options_.max_document_bytes) {
      // A line that was looked at may go on; a blank line may have begun there.
      looked_at = input_->format == DocumentFormat::paragraphs ? (pending_.rfind('\n') == kNone ? 0 : pending_.rfind('\n'))
                                                               : pending_.size();
      fill();
      end = record_end(looked_at);
    }
    if (end == kNone || (end > options_.max_document_bytes && input_->format == DocumentFormat::text)) {
      pass_over_long_record(batch);
      continue;
    }
    if (end > 0) {
      hand_out(batch, end);
      return true;
    }
    // Nothing left in this file.
    bytes_of_closed_files_ += input_->source->stored_bytes();
    input_.reset();
    position_ = {position_.file + 1, 0, 1};
    if (batch.too_long.count > 0 && at_end()) {
      // The last record of all was too long: an empty batch carries that news.
      batch.file = std::make_shared<const fs::path>(files_.back());
      batch.begin = batch.end = position_;
      batch.storage.assign(kPadding, ' ');
      batch.size = 0;
      batch.index = next_index_++;
      batch.source_bytes = bytes_read();
      return true;
    }
  }
}

void DocumentReader::pass_over_long_record(DocumentBatch& batch) {
  std::string message = fmt::format("{}:{}: a document longer than {}; raise --max-document{}", input_->path->string(), line_in_file(),
                                    format_bytes(static_cast<double>(options_.max_document_bytes)),
                                    input_->format == DocumentFormat::text
                                        ? ", or say --format paragraphs if blank lines separate documents"
                                        : "");
  if (!options_.skip_bad) fail("{}", message);
  batch.too_long.add(std::move(message));
  for (;;) {
    const size_t end = input_->ended ? pending_.size() : end_of_first_record(pending_, input_->format);
    // The last line begun may yet turn out to be the blank one that ends the record.
    const size_t newline = input_->format == DocumentFormat::paragraphs ? pending_.rfind('\n') : kNone;
    const size_t drop = end != kNone ? end : newline != kNone ? newline : pending_.size();
    position_.offset += drop;
    position_.line += count_lines(std::string_view(pending_).substr(0, drop));
    pending_.erase(0, drop);
    if (end != kNone) return;
    fill();
  }
}

void DocumentReader::hand_out(DocumentBatch& batch, size_t bytes) {
  batch.index = next_index_++;
  batch.file = input_->path;
  batch.format = input_->format;
  batch.begin = position_;
  batch.storage.reserve(bytes + kPadding);
  batch.storage.assign(pending_, 0, bytes);
  batch.storage.append(kPadding, ' ');
  batch.size = bytes;
  pending_.erase(0, bytes);
  position_.offset += bytes;
  position_.line += count_lines(batch.text());
  batch.end = position_;
  batch.source_bytes = bytes_read();
}

uint64_t lines_before(const fs::path& file, uint64_t offset) {
  const auto source = open_byte_source(file);
  std::string buffer(kReadBytes, '\0');
  uint64_t lines = 0;
  while (offset > 0) {
    const size_t n = source->read(buffer.data(), std::min<uint64_t>(offset, buffer.size()));
    if (n == 0) break;
    lines += count_lines(std::string_view(buffer).substr(0, n));
    offset -= n;
  }
  return lines;
}

namespace {

// Where the line ends that holds byte `from` of a plain file.
uint64_t end_of_line(const fs::path& file, uint64_t from) {
  const auto source = open_byte_source(file);
  source->skip(from);
  std::string buffer(kReadBytes, '\0');
  for (uint64_t at = from;;) {
    const size_t n = source->read(buffer.data(), buffer.size());
    if (n == 0) return at;
    const size_t newline = std::string_view(buffer).substr(0, n).find('\n');
    if (newline != kNone) return at + newline + 1;
    at += n;
  }
}

}  // namespace

std::vector<InputRange> divide_input(const std::vector<fs::path>& files, DocumentFormat format, int parts) {
  check(parts > 0, "input cannot be divided among {} readers", parts);
  std::vector<uint64_t> begins;  // of each file, if all were one
  uint64_t total = 0;
  for (const fs::path& file : files) {
    begins.push_back(total);
    check(fs::is_regular_file(file), "{}: is no regular file, and cannot be divided among several readers", file.string());
    total += fs::file_size(file);
  }
  // The place nearest to byte `at` of all, from there on.
  const auto place = [&](uint64_t at) -> InputPosition {
    const auto file = static_cast<size_t>(std::upper_bound(begins.begin(), begins.end(), at) - begins.begin()) - 1;
    const uint64_t offset = at - begins[file], size = fs::file_size(files[file]);
    if (offset == 0) return {.file = file};
    if (format_of(files[file], format) == DocumentFormat::jsonl && !open_byte_source(files[file])->is_compressed()) {
      const uint64_t end = end_of_line(files[file], offset - 1);
      return end >= size ? InputPosition{.file = file + 1} : InputPosition{.file = file, .offset = end};
    }
    return {.file = file + (offset * 2 >= size ? 1 : 0)};
  };
  std::vector<InputRange> ranges(static_cast<size_t>(parts));
  for (size_t part = 1; part < ranges.size(); ++part) {
    const auto at = static_cast<uint64_t>(static_cast<double>(total) * static_cast<double>(part) / parts);
    const InputPosition border = files.empty() ? InputPosition{} : place(std::min(at, total - (total > 0)));
    ranges[part].begin = border;
    ranges[part - 1].end_file = border.file;
    ranges[part - 1].end_offset = border.offset;
  }
  return ranges;
}

BadRecords for_each_document(const std::vector<fs::path>& files, const DocumentOptions& options,
                             const std::function<void(const Document&)>& body) {
  DocumentReader reader(files, options);
  DocumentParser parser(options);
  DocumentBatch batch;
  BadRecords bad;
  while (reader.next(batch)) {
    bad.add(batch.too_long);
    parser.parse(batch, body, bad);
  }
  return bad;
}

}  // namespace triax
