#include "triax/text/bpe_model.h"

#include <algorithm>
#include <bit>

namespace triax::text {
namespace {

constexpr uint64_t kEmpty = UINT64_MAX;
// Up to this many symbols, scanning all ranks for the least beats keeping a heap.
constexpr size_t kShortWord = 96;

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// The high bits of a product with an odd constant are well mixed (Fibonacci hashing).
size_t pair_slot(uint64_t key, int shift) {
  return static_cast<size_t>(((key ^ key >> 29) * 0x9E3779B97F4A7C15u) >> shift);
}

}  // namespace

BpeModel::BpeModel(BpeVocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  const auto& tokens = vocabulary_.tokens;
  vocabulary_.literal.resize(tokens.size(), false);
  id_of_.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id)
    if (!tokens[id].empty() && !vocabulary_.literal[id]) id_of_.emplace(tokens[id], static_cast<int32_t>(id));
  for (size_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_ids_[byte] = find({&c, 1});
    if (byte_ids_[byte] < 0) byte_ids_[byte] = vocabulary_.unk;
  }

  const auto& merges = vocabulary_.merges;
  const size_t capacity = std::bit_ceil(std::max<size_t>(4, merges.size() * 2));
  shift_ = 64 - std::countr_zero(capacity);
  slots_.assign(capacity, {kEmpty, 0, 0});
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const uint64_t key = pair_key(merges[rank].left, merges[rank].right);
    size_t slot = pair_slot(key, shift_);
    while (slots_[slot].pair != kEmpty && slots_[slot].pair != key) slot = (slot + 1) & (capacity - 1);
    slots_[slot] = {key, static_cast<uint32_t>(rank), merges[rank].result};  // the last of equal pairs counts
  }
}

int32_t BpeModel::find(std::string_view bytes) const {
  const auto found = id_of_.find(bytes);
  return found == id_of_.end() ? -1 : found->second;
}

const BpeModel::Slot* BpeModel::lookup(int32_t left, int32_t right) const {
  const uint64_t key = pair_key(left, right);
  for (size_t slot = pair_slot(key, shift_);; slot = (slot + 1) & (slots_.size() - 1)) {
    if (slots_[slot].pair == key) return &slots_[slot];
    if (slots_[slot].pair == kEmpty) return nullptr;
  }
}

// One symbol for each byte that has a token.
void BpeModel::start(std::string_view word, BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  bool last_unknown = false;
  for (size_t i = 0; i < word.size(); ++i) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(word[i])];
    const bool unknown = id == vocabulary_.unk;
    if (id >= 0 && !(unknown && last_unknown && vocabulary_.fuse_unk)) {
      const auto at = static_cast<int32_t>(symbols.size());
      symbols.push_back({id, static_cast<int32_t>(i), at - 1, at + 1});
    }
    last_unknown = unknown;
  }
  if (!symbols.empty()) symbols.back().next = -1;
}

// Symbols and the ranks of their right pairs stay packed; each merge closes the gap.
void BpeModel::merge_short(BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& ranks = scratch.ranks;
  size_t n = symbols.size();
  ranks.resize(n);
  for (size_t i = 0; i + 1 < n; ++i) ranks[i] = rank_of(symbols[i].id, symbols[i + 1].id);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == kNoMerge) break;
    symbols[best].id = vocabulary_.merges[ranks[best]].result;
    --n;
    for (size_t i = best + 1; i < n; ++i) symbols[i] = symbols[i + 1], ranks[i] = ranks[i + 1];
    if (best + 1 < n) ranks[best] = rank_of(symbols[best].id, symbols[best + 1].id);
    if (best > 0) ranks[best - 1] = rank_of(symbols[best - 1].id, symbols[best].id);
  }
  symbols.resize(n);
}

// A heap of candidate merges; those that an earlier merge has made void are passed over when they
// come up.
void BpeModel::merge_long(BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto later = [](const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  };
  const auto propose = [&](int32_t at) {
    const int32_t right = at < 0 ? -1 : symbols[static_cast<size_t>(at)].next;
    if (right < 0) return;
    const int32_t left_id = symbols[static_cast<size_t>(at)].id, right_id = symbols[static_cast<size_t>(right)].id;
    const uint32_t rank = rank_of(left_id, right_id);
    if (rank != kNoMerge) heap.push_back({rank, at, left_id, right_id});
  };

  heap.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) propose(static_cast<int32_t>(i));
  std::make_heap(heap.begin(), heap.end(), later);
  const auto push = [&](int32_t at) {
    const size_t before = heap.size();
    propose(at);
    if (heap.size() > before) std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const BpeScratch::Candidate c = heap.back();
    heap.pop_back();
    auto& left = symbols[static_cast<size_t>(c.at)];
    if (left.id != c.left || left.next < 0) continue;
    auto& right = symbols[static_cast<size_t>(left.next)];
    if (right.id != c.right) continue;
    left.id = vocabulary_.merges[c.rank].result;
    right.id = -1;  // dead
    left.next = right.next;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = c.at;
    push(left.previous);
    push(c.at);
  }
  std::erase_if(symbols, [](const auto& symbol) { return symbol.id < 0; });
}

void BpeModel::encode_word(std::string_view word, std::vector<int32_t>& ids, BpeScratch& scratch,
                           std::vector<int64_t>* begins) const {
  if (vocabulary_.ignore_merges) {
    if (const int32_t whole = find(word); whole >= 0) {
      ids.push_back(whole);
      if (begins) begins->push_back(0);
      return;
    }
  }
  start(word, scratch);
  if (scratch.symbols.size() <= kShortWord)
    merge_short(scratch);
  else
    merge_long(scratch);
  for (const auto& symbol : scratch.symbols) {
    ids.push_back(symbol.id);
    if (begins) begins->push_back(symbol.begin);
  }
}

}  // namespace triax::text
