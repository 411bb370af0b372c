#include "triax/data/sentences.h"

#include <gtest/gtest.h>

namespace triax {
namespace {

using Sentences = std::vector<std::string>;

Sentences split(std::string_view text, const std::string& language = "en") {
  SentenceSplitter splitter(language);
  splitter.split("Something else before. And more.");
  const auto& found = splitter.split(text);
  return {found.begin(), found.end()};
}

TEST(Sentences, EndAtStopsAndBlankLines) {
  EXPECT_EQ(split("It rained. We stayed in!  Why not?"), (Sentences{"It rained.", "We stayed in!", "Why not?"}));
  EXPECT_EQ(split("A title\n\nThe text. More"), (Sentences{"A title", "The text.", "More"}));
  EXPECT_EQ(split("A title\r\n\r\nThe text."), (Sentences{"A title", "The text."}));
  EXPECT_EQ(split(""), Sentences{});
  EXPECT_EQ(split(" \n\n "), Sentences{});
}

TEST(Sentences, DoNotEndAtLineEndsNumbersOrAbbreviations) {
  EXPECT_EQ(split("a line\nthat goes on. Next\r\none."), (Sentences{"a line that goes on.", "Next  one."}));
  EXPECT_EQ(split("It was 3.14 m. high, said Dr. Smith of the U.S. Army. He left."),
            (Sentences{"It was 3.14 m. high, said Dr. Smith of the U.S. Army.", "He left."}));
  EXPECT_EQ(split("J. S. Bach (cf. Fig. 3) did. So did I. Yes."), (Sentences{"J. S. Bach (cf. Fig. 3) did.", "So did I.", "Yes."}));
  EXPECT_EQ(split("By Dr.\n\nNew paragraph."), (Sentences{"By Dr.", "New paragraph."}));
}

TEST(Sentences, OfOtherLanguages) {
  EXPECT_EQ(split("Das gilt z.B. hier. Der Caf\xC3\xA9 schlie\xC3\x9Ft.", "de"),
            (Sentences{"Das gilt z.B. hier.", "Der Caf\xC3\xA9 schlie\xC3\x9Ft."}));
  EXPECT_EQ(split("\xE4\xBB\x8A\xE5\xA4\xA9\xE3\x80\x82\xE6\x98\x8E\xE5\xA4\xA9\xE3\x80\x82", "zh").size(), 2u);
}

}  // namespace
}  // namespace triax
