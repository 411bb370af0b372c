// Ids of words seen before: a small table of fixed size, so that most words of a text cost one look-up
// and the rest is encoded and takes the place of the less recent of two. One per thread.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace triax::text {

// The bytes of a short word, padded with zeros.
struct WordKey {
  uint64_t low = 0, high = 0;
  static constexpr size_t kMaxBytes = 16;

  // The word text[begin, begin + length); length <= kMaxBytes. Reads whole registers where the text
  // goes on behind the word.
  static WordKey of(std::string_view text, size_t begin, size_t length) {
    WordKey key;
    if (begin + kMaxBytes <= text.size()) [[likely]] {
      std::memcpy(&key, text.data() + begin, kMaxBytes);
      const uint64_t low_bytes = length < 8 ? length : 8, high_bytes = length - low_bytes;
      key.low &= ~uint64_t{0} >> (64 - 8 * low_bytes);
      key.high &= high_bytes == 0 ? 0 : ~uint64_t{0} >> (64 - 8 * high_bytes);
    } else {
      std::memcpy(&key, text.data() + begin, length);
    }
    return key;
  }
  uint64_t hash() const {
    uint64_t h = low * 0x9E3779B97F4A7C15u ^ high * 0xC2B2AE3D27D4EB4Fu;
    return h ^ h >> 32;
  }
};

class WordCache {
 public:
  static constexpr size_t kMaxIds = 3;
  struct Entry {
    WordKey key;
    std::array<int32_t, kMaxIds> ids;
    uint8_t length;  // of the word; 0: the entry is free
    uint8_t count;   // of ids
  };

  WordCache() : buckets_(kBuckets) {}

  const Entry* find(const WordKey& key, size_t length) const {
    const Bucket& bucket = buckets_[bucket_of(key)];
    for (const Entry& entry : bucket.entries)
      if (entry.key.low == key.low && entry.key.high == key.high && entry.length == length) return &entry;
    return nullptr;
  }
  // count <= kMaxIds, length in [1, WordKey::kMaxBytes]
  void insert(const WordKey& key, size_t length, const int32_t* ids, size_t count) {
    Bucket& bucket = buckets_[bucket_of(key)];
    bucket.entries[1] = bucket.entries[0];
    Entry& entry = bucket.entries[0];
    entry = {key, {}, static_cast<uint8_t>(length), static_cast<uint8_t>(count)};
    for (size_t i = 0; i < count; ++i) entry.ids[i] = ids[i];
  }

 private:
  static constexpr size_t kBuckets = 8192;  // 512 KiB: stays in a core's second-level cache
  struct alignas(64) Bucket {
    std::array<Entry, 2> entries{};
  };
  static size_t bucket_of(const WordKey& key) { return key.hash() % kBuckets; }
  std::vector<Bucket> buckets_;
};

}  // namespace triax::text
