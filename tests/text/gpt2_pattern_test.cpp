#include <fmt/core.h>
#include <gtest/gtest.h>

#include "text/fixture.h"
#include "triax/text/pretokenizer.h"
#include "triax/text/unicode_classes.h"

namespace triax::text {
namespace {

using test::Random;

std::vector<int32_t> word_ends(std::string_view text) {
  std::vector<int32_t> ends;
  for (size_t at = 0; at < text.size();) {
    at = gpt2_word_end(text, at);
    ends.push_back(static_cast<int32_t>(at));
  }
  return ends;
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> out;
  int32_t begin = 0;
  for (const int32_t end : word_ends(text)) {
    out.emplace_back(text.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
    begin = end;
  }
  return out;
}

using Words = std::vector<std::string>;

TEST(Gpt2Pattern, CutsAsTheRegularExpressionDoes) {
  EXPECT_EQ(words("Hello world"), (Words{"Hello", " world"}));
  EXPECT_EQ(words("we'll've it's I'm don't he'd"),
            (Words{"we", "'ll", "'ve", " it", "'s", " I", "'m", " don", "'t", " he", "'d"}));
  EXPECT_EQ(words("'S 're 'tis"), (Words{"'", "S", " '", "re", " '", "tis"}));
  EXPECT_EQ(words("a  b"), (Words{"a", " ", " b"}));
  EXPECT_EQ(words("a \n\n b"), (Words{"a", " \n\n", " b"}));
  EXPECT_EQ(words("a\nb"), (Words{"a", "\n", "b"}));
  EXPECT_EQ(words("a\n\nb"), (Words{"a", "\n", "\n", "b"}));
  EXPECT_EQ(words("a   "), (Words{"a", "   "}));
  EXPECT_EQ(words("x1y22 333"), (Words{"x", "1", "y", "22", " 333"}));
  EXPECT_EQ(words("!?'s"), (Words{"!?'", "s"}));
  EXPECT_EQ(words("naïve café"), (Words{"naïve", " café"}));
  EXPECT_EQ(words("a\u3000\u3000b"), (Words{"a", "\u3000", "\u3000", "b"}));  // ideographic spaces are not the optional one
  EXPECT_EQ(words(std::string("a\0b", 3)), (Words{"a", std::string("\0", 1), "b"}));
}

TEST(Gpt2Pattern, CutsPseudoRandomTextOfAllCodePointsAsTokenizersDoes) {
  const auto expected = test::word_end_digests();
  for (size_t batch = 0; batch < expected.size(); ++batch) {
    Random random(5000 + batch);
    uint64_t state = test::kDigestStart;
    for (int i = 0; i < 50; ++i) state = test::digest(word_ends(test::random_code_points(random)), state);
    EXPECT_EQ(fmt::format("{:016x}", state), expected[batch]) << "batch " << batch;
  }
}

TEST(Gpt2Pattern, BytesThatAreNotUtf8AreSymbols) {
  EXPECT_EQ(words("a\xFF\xFE b"), (Words{"a", "\xFF\xFE", " b"}));
  EXPECT_EQ(words(" \xC3"), (Words{" \xC3"}));
  EXPECT_EQ(words("\xE4\xBD"), (Words{"\xE4\xBD"}));        // a cut-off letter
  EXPECT_EQ(words("\xED\xA0\x80z"), (Words{"\xED\xA0\x80", "z"}));  // a surrogate
}

TEST(Gpt2Pattern, LosesNoByteOfAnyInput) {
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = test::random_bytes(random, random.below(60));
    std::string joined;
    for (const std::string& word : words(text)) {
      EXPECT_FALSE(word.empty());
      joined += word;
    }
    EXPECT_EQ(joined, text);
  }
}

TEST(Gpt2Pattern, WordsOfAsciiLettersEndTheSameAnywhereInTheText) {
  // The fast path looks at eight bytes at a time, and leaves the last ones to the slow path.
  for (size_t length = 1; length <= 40; ++length)
    for (const std::string_view after : {"", " ", "!", "1", "é", "\xFF", "\n"})
      for (size_t padding = 0; padding < 20; padding += 3) {
        const std::string word(length, 'q');
        const std::string text = word + std::string(after) + std::string(after.empty() ? 0 : padding, '#');
        EXPECT_EQ(gpt2_word_end(text, 0), after == "é" ? length + 2 : length);
      }
}

TEST(SafeCut, LeavesTheWordsOnBothSidesAsTheyWere) {
  Random random(3);
  for (int i = 0; i < 500; ++i) {
    const std::string text = test::random_text(random) + test::random_text(random);
    const size_t cut = safe_cut(text, random.below(static_cast<uint32_t>(text.size())));
    ASSERT_GT(cut, 0u);
    ASSERT_LE(cut, text.size());
    Words parts = words(std::string_view(text).substr(0, cut));
    for (std::string& word : words(std::string_view(text).substr(cut))) parts.push_back(std::move(word));
    EXPECT_EQ(parts, words(text));
  }
}

TEST(UnicodeClasses, KnowsCharactersOfEveryPlane) {
  const auto& classes = UnicodeClasses::instance();
  EXPECT_EQ(classes.of('a'), CharClass::letter);
  EXPECT_EQ(classes.of(0x0301), CharClass::other);      // combining acute
  EXPECT_EQ(classes.of(0xBD), CharClass::number);       // one half
  EXPECT_EQ(classes.of(0x3000), CharClass::space);
  EXPECT_EQ(classes.of(0x180E), CharClass::other);      // white space until Unicode 6.3
  EXPECT_EQ(classes.of(0x20000), CharClass::letter);
  EXPECT_EQ(classes.of(0x10D40), CharClass::number);    // Garay digit, Unicode 16
  EXPECT_EQ(classes.of(0x10FFFF), CharClass::other);
  EXPECT_EQ(classes.of(0x110000), CharClass::other);
}

}  // namespace
}  // namespace triax::text
