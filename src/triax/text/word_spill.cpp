#include "triax/text/word_spill.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "triax/base/error.h"
#include "triax/base/file.h"

namespace triax::text {
namespace fs = std::filesystem;
namespace {

// Before the bytes of each word.
struct RecordHeader {
  uint64_t count;
  uint64_t length;
};

// What a word takes while a vocabulary is learned from it: its symbols, and its place in the lists of pairs; or what was
// measured of SentencePiece's Unigram trainer, which makes a suffix array of all words.
uint64_t learning_bytes(size_t length, WordRule rule) {
  return rule == WordRule::spaces ? 256 + 40 * uint64_t{length} : 96 + 14 * uint64_t{length};
}

// A run, word by word.
struct Cursor {
  MappedFile file;
  size_t at = 0;
  std::string_view word;
  uint64_t count = 0;

  bool next() {
    if (at == file.size()) return false;
    RecordHeader header;
    check(file.size() - at >= sizeof header, "{}: is cut short; is the disk full?", file.path().string());
    std::memcpy(&header, file.bytes().data() + at, sizeof header);
    at += sizeof header;
    check(header.length <= file.size() - at, "{}: is cut short; is the disk full?", file.path().string());
    word = file.text().substr(at, header.length);
    count = header.count;
    at += header.length;
    return true;
  }
};

// Calls body(word, count) for every distinct word of all runs, in order.
template <typename Body>
void for_each_word(std::span<const fs::path> runs, Body&& body) {
  std::vector<Cursor> cursors;
  for (const fs::path& run : runs) {
    Cursor cursor;
    cursor.file = MappedFile(run);
    if (cursor.next()) cursors.push_back(std::move(cursor));
  }
  const auto later = [](const Cursor& a, const Cursor& b) { return a.word > b.word; };
  std::make_heap(cursors.begin(), cursors.end(), later);
  while (!cursors.empty()) {
    const std::string_view word = cursors.front().word;  // in a mapped file: stays where it is
    uint64_t count = 0;
    std::vector<MappedFile> ended;
    while (!cursors.empty() && cursors.front().word == word) {
      std::pop_heap(cursors.begin(), cursors.end(), later);
      count += cursors.back().count;
      if (cursors.back().next()) {
        std::push_heap(cursors.begin(), cursors.end(), later);
      } else {
        ended.push_back(std::move(cursors.back().file));
        cursors.pop_back();
      }
    }
    body(word, count);
  }
}

// The least count of words that are kept.
uint64_t least_count(std::span<const fs::path> runs, WordRule rule, uint64_t memory_bytes) {
  std::map<uint64_t, uint64_t, std::greater<>> bytes_of;  // by count
  for_each_word(runs, [&](std::string_view word, uint64_t count) { bytes_of[count] += learning_bytes(word.size(), rule); });
  uint64_t total = 0, least = 0;
  for (const auto& [count, bytes] : bytes_of) {
    total += bytes;
    if (total > memory_bytes) break;
    least = count;
  }
  check(least > 0, "not even the most frequent words fit into the memory that is given; give more");
  return least;
}

}  // namespace

void write_word_run(const WordCounts& counts, const fs::path& path) {
  FileWriter out(path);
  for (const auto& word : counts.words) {
    const RecordHeader header{word.count, word.length};
    out.write(&header, sizeof header);
    out.write(counts.bytes.data() + word.begin, word.length);
  }
  out.commit();
}

WordCounts merge_word_runs(std::span<const fs::path> runs, WordRule rule, uint64_t memory_bytes) {
  const uint64_t least = least_count(runs, rule, memory_bytes);
  WordCounts counts;
  for_each_word(runs, [&](std::string_view word, uint64_t count) {
    if (count < least) {
      ++counts.words_left_out;
      counts.occurrences_left_out += count;
      return;
    }
    counts.words.push_back({counts.bytes.size(), static_cast<uint32_t>(word.size()), count});
    counts.bytes += word;
  });
  return counts;
}

}  // namespace triax::text
