#include "triax/text/word_counts.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/base/parallel.h"
#include "triax/base/text.h"
#include "triax/text/pretokenizer.h"
#include "triax/text/word_cache.h"
#include "triax/text/word_spill.h"

namespace triax::text {
namespace {

constexpr size_t kBatchBytes = size_t{32} << 20, kLeastBatchBytes = size_t{1} << 20;
constexpr size_t kPieceBytes = size_t{512} << 10;

constexpr std::string_view kSpaces = " \t\n\v\f\r";

struct Range {
  size_t begin, end;
};

// Documents as ranges of at most about kPieceBytes, cut where the words stay the same.
std::vector<Range> cut_documents(std::string_view batch, const std::vector<size_t>& ends) {
  std::vector<Range> ranges;
  size_t begin = 0;
  for (const size_t end : ends) {
    const std::string_view document = batch.substr(0, end);
    while (end - begin > kPieceBytes) {
      const size_t cut = safe_cut(document, begin + kPieceBytes - 1);
      ranges.push_back({begin, cut});
      begin = cut;
    }
    if (end > begin) ranges.push_back({begin, end});
    begin = end;
  }
  return ranges;
}

}  // namespace

// Open addressing. Words of up to 16 bytes are their own key; longer ones are known by their hash and
// kept in an arena.
class WordCounter::Table {
 public:
  Table() : entries_(size_t{1} << 12) {}

  void count_words(std::string_view text, const WordCounterOptions& options) {
    switch (options.rule) {
      case WordRule::gpt2:
        for (size_t begin = 0, end; begin < text.size(); begin = end) {
          end = gpt2_word_end(text, begin);
          add(text, begin, end - begin);
        }
        return;
      case WordRule::bert:
        for (BertWords words(text, options.bert); words.next();) add(words.word(), 0, words.word().size());
        return;
      case WordRule::spaces:
        for (size_t begin = text.find_first_not_of(kSpaces), end; begin != std::string_view::npos;
             begin = text.find_first_not_of(kSpaces, end)) {
          end = std::min(text.find_first_of(kSpaces, begin), text.size());
          add(text, begin, end - begin);
        }
        return;
    }
  }

  size_t memory_bytes() const { return entries_.size() * sizeof(Entry) + arena_.capacity(); }

  void add_all(const Table& other) {
    for (const Entry& entry : other.entries_) {
      if (entry.count == 0) continue;
      if (entry.length <= WordKey::kMaxBytes)
        add_short(entry.key, entry.length, entry.count);
      else
        add_long(other.long_text(entry), entry.count);
    }
  }

  WordCounts sorted() const {
    WordCounts result;
    result.words.reserve(used_);
    for (const Entry& entry : entries_) {
      if (entry.count == 0) continue;
      result.words.push_back({result.bytes.size(), entry.length, entry.count});
      if (entry.length <= WordKey::kMaxBytes)
        result.bytes.append(reinterpret_cast<const char*>(&entry.key), entry.length);
      else
        result.bytes.append(long_text(entry));
    }
    std::sort(result.words.begin(), result.words.end(),
              [&](const auto& a, const auto& b) { return result.text(a) < result.text(b); });
    return result;
  }

 private:
  struct Entry {
    WordKey key;  // long words: {hash, place in the arena}
    uint64_t count = 0;
    uint32_t length = 0;
  };

  std::string_view long_text(const Entry& entry) const {
    return std::string_view(arena_).substr(entry.key.high, entry.length);
  }
  static size_t mix(uint64_t hash) { return static_cast<size_t>((hash ^ hash >> 29) * 0xBF58476D1CE4E5B9u >> 20); }

  void add(std::string_view text, size_t begin, size_t length) {
    if (length <= WordKey::kMaxBytes)
      add_short(WordKey::of(text, begin, length), static_cast<uint32_t>(length), 1);
    else
      add_long(text.substr(begin, length), 1);
  }

  void add_short(const WordKey& key, uint32_t length, uint64_t count) {
    for (size_t at = mix(key.hash());; ++at) {
      Entry& entry = entries_[at & (entries_.size() - 1)];
      if (entry.key.low == key.low && entry.key.high == key.high && entry.length == length) {
        entry.count += count;
        return;
      }
      if (entry.count == 0) return insert(entry, {key, count, length});
    }
  }

  void add_long(std::string_view word, uint64_t count) {
    check(word.size() < UINT32_MAX, "a word of {} bytes without white space is too long to train on", word.size());
    const uint64_t hash = hash64(word);
    for (size_t at = mix(hash);; ++at) {
      Entry& entry = entries_[at & (entries_.size() - 1)];
      if (entry.key.low == hash && entry.length == word.size() && long_text(entry) == word) {
        entry.count += count;
        return;
      }
      if (entry.count == 0) {
        const uint64_t place = arena_.size();
        arena_ += word;
        return insert(entry, {{hash, place}, count, static_cast<uint32_t>(word.size())});
      }
    }
  }

  void insert(Entry& slot, const Entry& entry) {
    slot = entry;
    if (++used_ * 2 <= entries_.size()) return;
    std::vector<Entry> old(entries_.size() * 2);
    old.swap(entries_);
    for (const Entry& moved : old) {
      if (moved.count == 0) continue;
      size_t at = mix(moved.length <= WordKey::kMaxBytes ? moved.key.hash() : moved.key.low);
      while (entries_[at & (entries_.size() - 1)].count != 0) ++at;
      entries_[at & (entries_.size() - 1)] = moved;
    }
  }

  std::vector<Entry> entries_;
  std::string arena_;
  size_t used_ = 0;
};

WordCounter::WordCounter(WordCounterOptions options) : options_(std::move(options)), batch_bytes_(kBatchBytes) {
  if (options_.memory_bytes == 0) return;
  check(options_.memory_bytes >= kLeastCounterMemory, "{} of memory are too little to count words in; give at least {}",
        format_bytes(static_cast<double>(options_.memory_bytes)), format_bytes(static_cast<double>(kLeastCounterMemory)));
  batch_bytes_ = std::clamp<size_t>(options_.memory_bytes / 64, kLeastBatchBytes, kBatchBytes);
}

WordCounter::~WordCounter() {
  std::error_code ignored;
  if (!runs_.empty()) std::filesystem::remove_all(options_.spill_directory, ignored);
}

void WordCounter::add(std::string_view document) {
  bytes_ += document.size();
  ++documents_;
  batch_ += document;
  document_ends_.push_back(batch_.size());
  if (batch_.size() >= batch_bytes_) count_batch();
}

void WordCounter::count_batch() {
  const std::vector<Range> ranges = cut_documents(batch_, document_ends_);
  // Neighbouring small ranges go to a thread together.
  std::vector<size_t> piece_ends;
  size_t piece_bytes = 0;
  for (size_t i = 0; i < ranges.size(); ++i) {
    piece_bytes += ranges[i].end - ranges[i].begin;
    if (piece_bytes >= kPieceBytes || i + 1 == ranges.size()) piece_ends.push_back(i + 1), piece_bytes = 0;
  }
  while (tables_.size() < static_cast<size_t>(num_threads())) tables_.push_back(std::make_unique<Table>());
  parallel_pieces(static_cast<int64_t>(piece_ends.size()), [&](int64_t piece) {
    Table& table = *tables_[static_cast<size_t>(omp_get_thread_num()) % tables_.size()];
    const auto p = static_cast<size_t>(piece);
    for (size_t i = p == 0 ? 0 : piece_ends[p - 1]; i < piece_ends[p]; ++i) {
      const std::string_view text = std::string_view(batch_).substr(ranges[i].begin, ranges[i].end - ranges[i].begin);
      table.count_words(text, options_);
    }
  });
  batch_.clear();
  document_ends_.clear();
  // Gathering and sorting take about as much again, and a table that grows its double. Learning a Unigram vocabulary
  // takes several times as much.
  const uint64_t share = options_.rule == WordRule::spaces ? 10 : 4;
  size_t memory = 0;
  for (const auto& table : tables_) memory += table->memory_bytes();
  if (options_.memory_bytes > 0 && memory > options_.memory_bytes / share) spill();
}

// All tables as one, sorted; they are then gone.
WordCounts WordCounter::gather() {
  Table all;
  if (!tables_.empty()) std::swap(all, *tables_.front());
  for (size_t i = 1; i < tables_.size(); ++i) {
    all.add_all(*tables_[i]);
    tables_[i].reset();
  }
  tables_.clear();
  return all.sorted();
}

void WordCounter::spill() {
  check(!options_.spill_directory.empty(), "a limit on the memory of counting needs a folder to spill to");
  std::filesystem::create_directories(options_.spill_directory);
  runs_.push_back(options_.spill_directory / fmt::format("{}.counts", runs_.size()));
  write_word_run(gather(), runs_.back());
}

WordCounts WordCounter::finish() {
  count_batch();
  bytes_ = documents_ = 0;
  if (runs_.empty()) return gather();
  spill();
  WordCounts counts = merge_word_runs(runs_, options_.rule, options_.memory_bytes);
  std::filesystem::remove_all(options_.spill_directory);
  runs_.clear();
  return counts;
}

}  // namespace triax::text
