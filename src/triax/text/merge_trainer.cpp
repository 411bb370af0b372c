#include "triax/text/merge_trainer.h"

#include <algorithm>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "triax/base/error.h"

namespace triax::text {
namespace {

using Pair = uint64_t;  // left id << 32 | right id: ordered as (left, right)

Pair pair_of(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

struct PairHash {
  size_t operator()(Pair pair) const { return static_cast<size_t>((pair ^ pair >> 29) * 0x9E3779B97F4A7C15u >> 16); }
};

// A pair waiting to be merged, and the words where it appeared. Its count may have fallen since it was
// queued; it is then queued again with the true one when it comes up.
struct Waiting {
  int64_t count;
  Pair pair;
  uint32_t words;  // index of its list in Merger::word_lists_

  bool operator<(const Waiting& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

// What one merge changes in the counts of pairs, by the id of the neighbour: four dense arrays instead
// of one look-up per occurrence.
struct Changes {
  struct Side {
    std::vector<int64_t> lost, gained;     // of the pair with the neighbour, before and after the merge
    std::vector<int32_t> list;             // of words where it was gained; -1: none yet
    std::vector<int32_t> touched;
    std::vector<bool> is_touched;

    void resize(size_t ids) {
      lost.resize(ids, 0), gained.resize(ids, 0), list.resize(ids, -1), is_touched.resize(ids, false);
    }
    void touch(int32_t id) {
      if (is_touched[static_cast<size_t>(id)]) return;
      is_touched[static_cast<size_t>(id)] = true;
      touched.push_back(id);
    }
    void clear() {
      for (const int32_t id : touched) {
        const auto at = static_cast<size_t>(id);
        lost[at] = gained[at] = 0, list[at] = -1, is_touched[at] = false;
      }
      touched.clear();
    }
  };
  Side left, right;
};

class Merger {
 public:
  explicit Merger(MergeTraining& training) : training_(training) {
    check(training.words.size() < UINT32_MAX, "{} distinct words are too many to train on; use a sample of the text",
          training.words.size());
    for (size_t id = 0; id < training.tokens.size(); ++id) id_of_.emplace(training.tokens[id], static_cast<int32_t>(id));
    count_pairs();
  }

  void run(int64_t vocab_size, int64_t min_frequency, const MergeProgress& progress) {
    const auto wanted = static_cast<size_t>(vocab_size);
    while (training_.tokens.size() < wanted && !queue_.empty()) {
      Waiting top = queue_.top();
      queue_.pop();
      const int64_t count = pair_counts_[top.pair];
      if (top.count != count) {
        top.count = count;
        queue_.push(top);
        continue;
      }
      if (count < std::max<int64_t>(1, min_frequency)) break;
      merge(top);
      if (progress) progress(static_cast<int64_t>(training_.tokens.size()), count);
    }
    drop_repeated();
  }

 private:
  int32_t add_token(std::string token) {
    const auto [found, is_new] = id_of_.emplace(token, static_cast<int32_t>(training_.tokens.size()));
    if (is_new) training_.tokens.push_back(std::move(token));
    return found->second;
  }

  std::string joined(int32_t left, int32_t right) const {
    std::string_view second = training_.tokens[static_cast<size_t>(right)];
    if (second.starts_with(training_.inner_prefix)) second.remove_prefix(training_.inner_prefix.size());
    return training_.tokens[static_cast<size_t>(left)] + std::string(second);
  }

  void count_pairs() {
    const size_t ids = training_.tokens.size();
    std::vector<int64_t> counts(ids * ids, 0);
    std::vector<int32_t> lists(ids * ids, -1);
    for (uint32_t w = 0; w < training_.words.size(); ++w) {
      const int32_t* s = training_.symbols.data() + training_.words[w].begin;
      for (uint32_t i = 0; i + 1 < training_.words[w].length; ++i) {
        const size_t cell = static_cast<size_t>(s[i]) * ids + static_cast<size_t>(s[i + 1]);
        counts[cell] += training_.words[w].count;
        if (lists[cell] < 0) lists[cell] = new_list();
        append_word(lists[cell], w);
      }
    }
    for (size_t cell = 0; cell < counts.size(); ++cell) {
      if (counts[cell] == 0) continue;
      const Pair pair = pair_of(static_cast<int32_t>(cell / ids), static_cast<int32_t>(cell % ids));
      pair_counts_[pair] = counts[cell];
      queue_.push({counts[cell], pair, static_cast<uint32_t>(lists[cell])});
    }
  }

  int32_t new_list() {
    if (!free_lists_.empty()) {
      const int32_t list = free_lists_.back();
      free_lists_.pop_back();
      return list;
    }
    word_lists_.emplace_back();
    return static_cast<int32_t>(word_lists_.size() - 1);
  }

  void append_word(int32_t list, uint32_t word) {
    auto& words = word_lists_[static_cast<size_t>(list)];
    if (words.empty() || words.back() != word) words.push_back(word);
  }

  void merge(const Waiting& waiting) {
    const auto left = static_cast<int32_t>(waiting.pair >> 32), right = static_cast<int32_t>(waiting.pair & 0xFFFFFFFF);
    const int32_t result = add_token(joined(left, right));
    training_.merges.push_back({left, right, result});
    changes_.left.resize(training_.tokens.size());
    changes_.right.resize(training_.tokens.size());

    const std::vector<uint32_t> words = std::move(word_lists_[waiting.words]);
    word_lists_[waiting.words] = {};
    free_lists_.push_back(static_cast<int32_t>(waiting.words));
    for (const uint32_t w : words) merge_in_word(w, left, right, result);
    apply_changes(left, right, result);
  }

  void merge_in_word(uint32_t w, int32_t left, int32_t right, int32_t result) {
    MergeTraining::Word& word = training_.words[w];
    int32_t* s = training_.symbols.data() + word.begin;
    const uint32_t n = word.length;
    uint32_t to = 0;
    for (uint32_t from = 0; from < n; ++to) {
      if (from + 1 == n || s[from] != left || s[from + 1] != right) {
        s[to] = s[from++];
        continue;
      }
      if (to > 0) change(changes_.left, s[to - 1], w);
      if (from + 2 < n) change(changes_.right, s[from + 2], w);
      s[to] = result;
      from += 2;
    }
    word.length = to;
  }

  void change(Changes::Side& side, int32_t neighbour, uint32_t w) {
    side.touch(neighbour);
    const auto at = static_cast<size_t>(neighbour);
    side.lost[at] += training_.words[w].count;
    side.gained[at] += training_.words[w].count;
    if (side.list[at] < 0) side.list[at] = new_list();
    append_word(side.list[at], w);
  }

  void apply_changes(int32_t left, int32_t right, int32_t result) {
    for (const int32_t x : changes_.left.touched) {
      pair_counts_[pair_of(x, left)] -= changes_.left.lost[static_cast<size_t>(x)];
      pair_counts_[pair_of(x, result)] += changes_.left.gained[static_cast<size_t>(x)];
    }
    for (const int32_t y : changes_.right.touched) {
      pair_counts_[pair_of(right, y)] -= changes_.right.lost[static_cast<size_t>(y)];
      pair_counts_[pair_of(result, y)] += changes_.right.gained[static_cast<size_t>(y)];
    }
    for (const int32_t x : changes_.left.touched) enqueue(pair_of(x, result), changes_.left.list[static_cast<size_t>(x)]);
    for (const int32_t y : changes_.right.touched) enqueue(pair_of(result, y), changes_.right.list[static_cast<size_t>(y)]);
    changes_.left.clear();
    changes_.right.clear();
  }

  void enqueue(Pair pair, int32_t list) {
    const int64_t count = pair_counts_[pair];
    if (count > 0) {
      queue_.push({count, pair, static_cast<uint32_t>(list)});
    } else {
      word_lists_[static_cast<size_t>(list)] = {};
      free_lists_.push_back(list);
    }
  }

  // A pair can be merged twice when its token came about in two ways; the later rank counts.
  void drop_repeated() {
    std::unordered_set<Pair, PairHash> seen;
    auto& merges = training_.merges;
    std::vector<Merge> kept;
    for (auto merge = merges.rbegin(); merge != merges.rend(); ++merge)
      if (seen.insert(pair_of(merge->left, merge->right)).second) kept.push_back(*merge);
    merges.assign(kept.rbegin(), kept.rend());
  }

  MergeTraining& training_;  // its symbols are merged in place
  std::unordered_map<std::string, int32_t> id_of_;
  std::vector<std::vector<uint32_t>> word_lists_;
  std::vector<int32_t> free_lists_;
  std::unordered_map<Pair, int64_t, PairHash> pair_counts_;
  std::priority_queue<Waiting> queue_;
  Changes changes_;
};

}  // namespace

void learn_merges(MergeTraining& training, int64_t vocab_size, int64_t min_frequency, const MergeProgress& progress) {
  Merger(training).run(vocab_size, min_frequency, progress);
}

}  // namespace triax::text
