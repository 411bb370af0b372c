// From scores of tokens back to answers and entities.
#include <gtest/gtest.h>

#include <cmath>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/tasks/span_select.h"
#include "triax/tasks/token_labels.h"
#include "triax/tasks/windows.h"

namespace triax::tasks {
namespace {

TEST(Windows, CoverTheTextAndOverlap) {
  EXPECT_EQ(cut_windows(0, 4, 1), (std::vector<TokenWindow>{{0, 0}}));
  EXPECT_EQ(cut_windows(4, 4, 1), (std::vector<TokenWindow>{{0, 4}}));
  EXPECT_EQ(cut_windows(9, 4, 2), (std::vector<TokenWindow>{{0, 4}, {2, 6}, {4, 8}, {6, 9}}));
  // A window begins at a word: at or before the place, but after the last one's beginning.
  const std::vector<uint8_t> words = {1, 0, 0, 1, 0, 0, 0, 0, 0};
  EXPECT_EQ(cut_windows(9, 5, 1, words), (std::vector<TokenWindow>{{0, 5}, {3, 8}, {7, 9}}));
  EXPECT_THROW(cut_windows(9, 4, 4), Error);
  for (int64_t n = 1; n < 40; ++n)
    for (int64_t overlap = 0; overlap < 7; ++overlap) {
      const auto windows = cut_windows(n, 7, overlap);
      EXPECT_EQ(windows.front().begin, 0);
      EXPECT_EQ(windows.back().end, n);
      const auto best = best_windows(windows, n);
      for (int64_t i = 0; i < n; ++i) {
        const TokenWindow w = windows[static_cast<size_t>(best[static_cast<size_t>(i)])];
        EXPECT_TRUE(w.begin <= i && i < w.end);
      }
    }
}

TEST(Windows, TokensBelongWhereMostIsSeen) {
  const std::vector<TokenWindow> windows = {{0, 6}, {3, 9}};
  EXPECT_EQ(best_windows(windows, 9), (std::vector<int32_t>{0, 0, 0, 0, 0, 1, 1, 1, 1}));  // of equals the first
}

// Context "aa bb cc dd": four tokens of two letters; windows {aa bb cc} and {bb cc dd}.
ScoredWindow window(std::vector<float> start, std::vector<float> end, int64_t first) {
  ScoredWindow w{std::move(start), std::move(end), {{-1, -1}, {-1, -1}}, {}};
  for (int64_t i = 0; i < 3; ++i) w.places.push_back({3 * (first + i), 3 * (first + i) + 2});
  w.places.push_back({-1, -1});
  return w;
}

TEST(Spans, BestOverAllWindows) {
  const std::vector<ScoredWindow> windows = {window({1, 9, 0, 2, 0, 9}, {1, 9, 0, 0, 3, 9}, 0),
                                             window({0.5, 9, 3, 0, 1, 9}, {0.5, 9, 0, 0, 4, 9}, 1)};
  const SpanChoice choice = choose_spans("aa bb cc dd", windows);
  ASSERT_GE(choice.answers.size(), 3u);
  EXPECT_EQ(choice.best(), "bb cc dd");
  EXPECT_EQ(choice.answers[0].score, 7);
  EXPECT_EQ(choice.answers[1].text, "bb cc");  // 2 + 3 in the first window
  EXPECT_EQ(choice.answers[2].text, "dd");     // 1 + 4
  // Question and [SEP] scored highest but are no answers; no-answer is the least of both windows.
  EXPECT_DOUBLE_EQ(choice.null_difference, 1.0 - 7.0);
  EXPECT_EQ(choice.best(-7), "");
  EXPECT_EQ(choice.best(-6), "bb cc dd");
  double sum = 0;
  for (const SpanAnswer& a : choice.answers) sum += a.probability;
  EXPECT_NEAR(sum, 1, 1e-12);
  EXPECT_NEAR(choice.answers[1].probability / choice.answers[0].probability, std::exp(-2), 1e-12);
}

TEST(Spans, KeepToLengthAndContext) {
  std::vector<ScoredWindow> windows = {window({0, 0, 5, 0, 0, 0}, {0, 0, 0, 0, 5, 0}, 0)};
  EXPECT_EQ(choose_spans("aa bb cc dd", windows).best(), "aa bb cc");
  EXPECT_EQ(choose_spans("aa bb cc dd", windows, {.n_best = 20, .max_answer_tokens = 2}).answers[0].score, 5);
  windows[0].best_here = {0, 0, 0, 1, 1, 0};  // "aa" is seen better elsewhere
  EXPECT_EQ(choose_spans("aa bb cc dd", windows).best(), "bb cc");
  // Nothing but the question: no answer can be given.
  windows[0].places.assign(6, {-1, -1});
  const SpanChoice none = choose_spans("aa bb cc dd", windows);
  EXPECT_TRUE(none.answers.empty());
  EXPECT_EQ(none.best(1e9), "");
  // Of equal scores the first in the text.
  EXPECT_EQ(choose_spans("aa bb cc dd", std::vector{window({0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0}, 0)}).best(), "aa");
}

class TokenLabels : public ::testing::Test {
 protected:
  TokenLabels() {
    write_file_atomic(folder_.path() / "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nas\n##pi\n##rin\nhelps\n.\n");
    tokenizer_ = load_tokenizer(folder_.path());
  }
  TemporaryDirectory folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  LabelSet labels_{{"B-C", "I-C", "O"}};
};

TEST_F(TokenLabels, OnTheFirstOrAllSubtokens) {
  const std::vector<std::string> words = {"aspirin", "\u200b", "helps", "."}, tags = {"B-C", "O", "O", "O"};
  const SubtokenSentence s = tokenize_words(*tokenizer_, words);
  EXPECT_EQ(s.ids, (std::vector<int32_t>{5, 6, 7, 1, 8, 9}));  // a word of nothing is [UNK]
  EXPECT_EQ(s.first, (std::vector<int32_t>{0, 3, 4, 5}));
  EXPECT_EQ(subtoken_labels(s, tags, labels_, SubtokenLabels::first), (std::vector<int32_t>{0, -1, -1, 2, 2, 2}));
  EXPECT_EQ(subtoken_labels(s, tags, labels_, SubtokenLabels::all), (std::vector<int32_t>{0, 1, 1, 2, 2, 2}));
  const std::vector<std::string> unknown = {"B-D", "O", "O", "O"};
  EXPECT_THROW(subtoken_labels(s, unknown, labels_, SubtokenLabels::all), Error);
}

TEST_F(TokenLabels, ComeTogetherFromWindowsAndAreRepaired) {
  const std::vector<std::string> words = {"as", "as", "as", "as", "as", "as"};
  const SubtokenSentence s = tokenize_words(*tokenizer_, words);
  const auto windows = cut_windows(6, 4, 2);
  ASSERT_EQ(windows.size(), 2u);
  // Words 0 1 2 are the first window's, 3 4 5 the second's; "I-C" after "O" begins an entity.
  const std::vector<std::vector<int32_t>> predicted = {{2, 1, 1, 0}, {2, 2, 1, 2}};
  EXPECT_EQ(word_tags(s, windows, predicted, labels_, TagScheme::iob2), (std::vector<std::string>{"O", "B-C", "I-C", "O", "B-C", "O"}));
  EXPECT_EQ(word_tags(s, windows, predicted, labels_, TagScheme::iobes), (std::vector<std::string>{"O", "B-C", "E-C", "O", "S-C", "O"}));
}

}  // namespace
}  // namespace triax::tasks
