// The head of a BERT: what is computed from the encoder's output, and what it is to learn.
#pragma once

#include <cstdint>
#include <span>

namespace triax {

// What is computed from the encoder's output.
enum class BertHead {
  none,         // the encoder alone
  pretraining,  // masked words, and which of two texts came first
  tokens,       // a class for every token
  sequence,     // a class for every sequence, from the pooled first token; a number with one label
  choice,       // one of several sequences, likewise
  spans         // where an answer starts and ends
};

struct BertHeadConfig {
  BertHead head = BertHead::none;
  int64_t num_labels = 0;     // of tokens and sequence
  int64_t hidden_size = 0;    // of a layer before the last one; 0: none
  double dropout = 0.1;       // before each layer

  // Columns of the last layer.
  int64_t outputs() const;
  bool is_task() const { return head != BertHead::none && head != BertHead::pretraining; }
  bool has_pooler() const { return head == BertHead::pretraining || head == BertHead::sequence || head == BertHead::choice; }
};

inline constexpr BertHeadConfig kPretraining{.head = BertHead::pretraining};

// What the head of a task is to learn. Which fields are used depends on the head; weights are each one's share in the
// loss (0: not counted).
struct BertTargets {
  // tokens: class of every token. sequence: of every sequence. choice: of every group of `choices`
  // sequences.
  std::span<const int32_t> labels;
  std::span<const float> weights;     // as labels; spans: [b]
  std::span<const float> values;      // sequence with one label: numbers [b], squared error
  std::span<const int32_t> starts, ends;  // spans: first and last token of the answer, rows of the batch [b]
  int64_t choices = 0;
};

}  // namespace triax
