// Byte-pair encoding of one word (Sennrich et al. 2016, "Neural machine translation of rare words with
// subword units", section 3.2): start from the bytes, and as long as two neighbours can be merged,
// merge the pair that was learned first, the leftmost one on ties.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace triax::text {

struct Merge {
  int32_t left = 0;
  int32_t right = 0;
  int32_t result = 0;
};

// A vocabulary as it is read from files or comes out of training.
struct BpeVocabulary {
  std::vector<std::string> tokens;  // bytes by id; "" where the ids have a gap
  std::vector<bool> literal;        // spelled in files as it is, not byte by byte; may be shorter
  std::vector<Merge> merges;        // in the order of their rank
  int32_t unk = -1;                 // for bytes without a token; -1: they are left out
  bool fuse_unk = false;            // neighbouring unknown bytes become one unk
  bool ignore_merges = false;       // a word that is a token is that token, whatever the merges say
};

// What encode_word() works in, so that it need not allocate; one per thread.
struct BpeScratch {
  struct Symbol {
    int32_t id;
    int32_t begin;  // of its bytes in the word
    int32_t previous, next;  // neighbours in the list of those that live; -1 at the ends
  };
  struct Candidate {
    uint32_t rank;
    int32_t at;  // index of the left symbol
    int32_t left, right;
  };
  std::vector<Symbol> symbols;
  std::vector<uint32_t> ranks;
  std::vector<Candidate> heap;
};

class BpeModel {
 public:
  static constexpr uint32_t kNoMerge = 0xFFFFFFFF;

  explicit BpeModel(BpeVocabulary vocabulary);
  BpeModel(const BpeModel&) = delete;
  BpeModel& operator=(const BpeModel&) = delete;

  const BpeVocabulary& vocabulary() const { return vocabulary_; }
  // The id of these bytes; -1 if they are no token.
  int32_t find(std::string_view bytes) const;

  // Appends the ids of one word. O(n^2) in a tight loop for short words, O(n log n) for long ones.
  // With `begins`, also the byte of the word where each id begins.
  void encode_word(std::string_view word, std::vector<int32_t>& ids, BpeScratch& scratch,
                   std::vector<int64_t>* begins = nullptr) const;

 private:
  struct Slot {
    uint64_t pair;
    uint32_t rank;
    int32_t result;
  };

  const Slot* lookup(int32_t left, int32_t right) const;
  uint32_t rank_of(int32_t left, int32_t right) const {
    const Slot* slot = lookup(left, right);
    return slot ? slot->rank : kNoMerge;
  }
  void start(std::string_view word, BpeScratch& scratch) const;
  void merge_short(BpeScratch& scratch) const;
  void merge_long(BpeScratch& scratch) const;

  BpeVocabulary vocabulary_;
  std::unordered_map<std::string_view, int32_t> id_of_;  // keys point into vocabulary_.tokens
  std::array<int32_t, 256> byte_ids_{};
  std::vector<Slot> slots_;  // open addressing, at most half full
  int shift_ = 0;
};

}  // namespace triax::text
