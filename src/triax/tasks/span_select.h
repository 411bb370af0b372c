// From the start and end scores of the tokens of a text to its best answers (Devlin et al. 2019, sections
// 4.2 and 4.3): the n best spans over all windows of the text, and whether to answer at all.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "triax/text/tokenizer.h"

namespace triax::tasks {

// One window as the model saw it: [CLS] question [SEP] part of the context [SEP]. All of one length.
struct ScoredWindow {
  std::vector<float> start, end;   // logits; position 0 is [CLS], which stands for "no answer"
  std::vector<ByteRange> places;   // in the context; begin < 0 for positions outside of it
  std::vector<uint8_t> best_here;  // 1 where no other window sees more around the token; empty: all
};

struct SpanOptions {
  int64_t n_best = 20;             // starts and ends looked at in each window, and answers returned
  int64_t max_answer_tokens = 30;
};

struct SpanAnswer {
  ByteRange place;
  std::string text;
  double score = 0;        // start logit + end logit
  double probability = 0;  // softmax over the answers returned
};

struct SpanChoice {
  std::vector<SpanAnswer> answers;  // best first; each place once
  // The no-answer score less that of the best answer: above the threshold, the answer is none. The
  // no-answer score is the least of the windows'. Very large when there is no answer at all.
  double null_difference = 0;
  // The best answer, or "" when `null_difference` is above the threshold.
  std::string best(double null_threshold) const;
  // Version 1.1: always answers if it can.
  std::string best() const { return answers.empty() ? std::string() : answers.front().text; }
};

SpanChoice choose_spans(std::string_view context, std::span<const ScoredWindow> windows, const SpanOptions& options = {});

}  // namespace triax::tasks
