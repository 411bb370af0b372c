#include <gtest/gtest.h>

#include "triax/text/byte_level.h"
#include "triax/text/utf8.h"

namespace triax::text {
namespace {

TEST(Utf8, EveryCodePointGoesThereAndBack) {
  for (uint32_t code = 0; code < 0x110000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    append_utf8(code, text);
    const Utf8Char c = decode_utf8(text, 0);
    ASSERT_EQ(c.code, code);
    ASSERT_EQ(c.length, text.size());
    for (size_t cut = 1; cut < text.size(); ++cut) {  // cut short, it is one bad sequence that could go on
      const std::string_view part(text.data(), cut);
      ASSERT_EQ(decode_utf8(part, 0).code, kInvalid);
      ASSERT_EQ(decode_utf8(part, 0).length, cut);
      ASSERT_EQ(incomplete_utf8_suffix(part), cut);
    }
    ASSERT_EQ(incomplete_utf8_suffix(text), 0u);
  }
}

TEST(Utf8, BadSequencesAreReplacedAsUnicodeRecommends) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(replace_invalid_utf8("abc"), "abc");
  EXPECT_EQ(replace_invalid_utf8("\x80"), r);
  EXPECT_EQ(replace_invalid_utf8("a\xC3"), "a" + r);
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF"), r + r);                  // overlong
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), r + r + r);          // a surrogate
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x9A" "a"), r + "a");        // three good bytes of four: one
  EXPECT_EQ(replace_invalid_utf8("\xF4\x90\x80\x80"), r + r + r + r);  // above U+10FFFF
  EXPECT_EQ(replace_invalid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF" "A"), r + r + r + r + "A");
}

TEST(Utf8, IncompleteSuffixIsWhatMoreBytesCouldComplete) {
  EXPECT_EQ(incomplete_utf8_suffix(""), 0u);
  EXPECT_EQ(incomplete_utf8_suffix("a\x80\x80\x80"), 0u);
  EXPECT_EQ(incomplete_utf8_suffix("\xED\xA0"), 0u);  // can only be a surrogate
  EXPECT_EQ(incomplete_utf8_suffix("\xFF"), 0u);
  EXPECT_EQ(incomplete_utf8_suffix("é\xF0\x9F"), 2u);
}

TEST(ByteLevel, SpellsBytesAsGpt2Does) {
  EXPECT_EQ(spell_bytes(" the"), "Ġthe");
  EXPECT_EQ(spell_bytes("\n"), "Ċ");
  EXPECT_EQ(spell_bytes(std::string("\0", 1)), "Ā");
  EXPECT_EQ(spell_bytes("\xAD\x7F\xFF"), "Ńġÿ");
  EXPECT_EQ(unspell_bytes("a b"), std::nullopt);  // a plain space spells no byte
  EXPECT_EQ(unspell_bytes("\xFF"), std::nullopt);
  EXPECT_EQ(unspell_bytes("你"), std::nullopt);
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  EXPECT_EQ(unspell_bytes(spell_bytes(all)), all);
}

}  // namespace
}  // namespace triax::text
