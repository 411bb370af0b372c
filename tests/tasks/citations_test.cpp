#include "triax/tasks/citations.h"

#include <gtest/gtest.h>

#include "triax/base/error.h"

namespace triax::tasks {
namespace {

// "key key ..." of the marks in a text.
std::string keys(std::string_view text, CitationStyle style, int largest = 999) {
  std::string out;
  for (const Citation& c : find_marks(text, style, largest)) out += (out.empty() ? "" : " | ") + c.key();
  return out;
}

TEST(CitationMarks, Brackets) {
  constexpr auto kStyle = CitationStyle::brackets;
  EXPECT_EQ(keys("a [1], b [2,5], c [3-5], d [ 7 – 9, 11 ].", kStyle), "1 | 2 | 5 | 3 | 4 | 5 | 7 | 8 | 9 | 11");
  EXPECT_EQ(keys("as reviewed [see 4; 6]", kStyle), "4 | 6");
  EXPECT_EQ(keys("x [0], [a], [1.5], [12, n = 3], [9-3], [1-999], [5], [3", kStyle), "5");
  EXPECT_EQ(keys("mean 34 [17-64] days", kStyle), "");   // the range of a number
  EXPECT_EQ(keys("a rate of 59% [6]", kStyle), "6");
  EXPECT_EQ(keys("[31] and [30]", kStyle, 30), "30");     // there are only thirty references
}

TEST(CitationMarks, Parentheses) {
  constexpr auto kStyle = CitationStyle::parentheses;
  EXPECT_EQ(keys("known (1), shown (2, 4-6).", kStyle), "1 | 2 | 4 | 5 | 6");
  EXPECT_EQ(keys("men 120 (12), 15 (3–50); (1) age; (2) sex and (3) no", kStyle), "");
  EXPECT_EQ(keys("in 25 patients (23)", kStyle), "23");
}

TEST(CitationMarks, Superscripts) {
  constexpr auto kStyle = CitationStyle::superscript;
  EXPECT_EQ(keys("activities2, 3. Report1. mortality.1–6 According to others,3 it", kStyle), "2 | 3 | 1 | 1 | 2 | 3 | 4 | 5 | 6 | 3");
  EXPECT_EQ(keys("CO2, p53, VO2max, omega-3 fat, 3.5, 12%, value5% or men31 (88.6)", kStyle), "");
  EXPECT_EQ(keys("known (since long)7, 8.", kStyle), "7 | 8");
}

TEST(CitationMarks, AuthorsAndYears) {
  constexpr auto kStyle = CitationStyle::author_year;
  EXPECT_EQ(keys("(Smith, 2010)", kStyle), "Smith 2010");
  EXPECT_EQ(keys("(see Smith & Jones, 2010a, b; Lee et al. 2012, 2013)", kStyle),
            "Smith & Jones 2010a | Smith & Jones 2010b | Lee et al. 2012 | Lee et al. 2013");
  EXPECT_EQ(keys("(King 1989a,b; Viblanc et al. 2010; Arnaud, Dobson & Murie 2012)", kStyle),
            "King 1989a | King 1989b | Viblanc et al. 2010 | Arnaud et al. 2012");
  EXPECT_EQ(keys("Smith et al. (2010) and van der Berg and O'Neill (2011), but Müller-Lüdenscheidt (1999)", kStyle),
            "Smith et al. 2010 | van der Berg & O'Neill 2011 | Müller-Lüdenscheidt 1999");
  EXPECT_EQ(keys("Smith and colleagues (2010)", kStyle), "Smith et al. 2010");
  EXPECT_EQ(keys("(World Health Organization 2010)", kStyle), "World Health Organization 2010");
  EXPECT_EQ(keys("In March 2010 (Table 2001), from 1999/2000, by Smith 2010; n = 2010 (May 2011)", kStyle), "");
  // Where the marks stand.
  const std::string text = "As Smith et al. (2010) say.";
  const auto marks = find_marks(text, kStyle, 0);
  ASSERT_EQ(marks.size(), 1u);
  EXPECT_EQ(text.substr(static_cast<size_t>(marks[0].place.begin), static_cast<size_t>(marks[0].place.end - marks[0].place.begin)), "Smith et al. (2010)");
}

TEST(References, OfFourStyles) {
  const Reference apa = parse_reference("Smith, J. A., & Müller-Jones, K. (2010a). The end of all things: A trial. Journal, 3(2), 1999-2004.", 4);
  EXPECT_EQ(apa.number, 4);
  EXPECT_EQ(apa.surnames, (std::vector<std::string>{"Smith", "Müller-Jones"}));
  EXPECT_EQ(apa.year, "2010a");
  EXPECT_EQ(apa.title, "The end of all things: A trial");
  const Reference vancouver = parse_reference("12. van Dam J, Lee KS. Aspirin vs. placebo? Lancet. 2003;12:1899-1902.", 1);
  EXPECT_EQ(vancouver.number, 12);
  EXPECT_EQ(vancouver.surnames, (std::vector<std::string>{"van Dam", "Lee"}));
  EXPECT_EQ(vancouver.year, "2003");
  EXPECT_EQ(vancouver.title, "Aspirin vs. placebo?");
  const Reference ieee = parse_reference("[3] J. Smith and K. Jones, \"A fast method,\" IEEE Trans., vol. 3, pp. 1-9, 2015.", 1);
  EXPECT_EQ(ieee.number, 3);
  EXPECT_EQ(ieee.surnames, (std::vector<std::string>{"Smith", "Jones"}));
  EXPECT_EQ(ieee.title, "A fast method");
  EXPECT_EQ(ieee.year, "2015");
  for (const auto& [authors, names] : {std::pair<const char*, std::vector<std::string>>{"Lee, J. & van Kim, S. A.", {"Lee", "van Kim"}}, {"Lee, J.-P.", {"Lee"}}, {"Lee, J. et al.", {"Lee"}}}) {
    const Reference nature = parse_reference(std::string("7. ") + authors + " Cats and their dogs. Nature 5, 12–19 (2010).", 1);
    EXPECT_EQ(nature.surnames, names);
    EXPECT_EQ(nature.title, "Cats and their dogs");
    EXPECT_EQ(nature.year, "2010");
  }
}

const char* const kNumbered =
    "1. Introduction\nThings are known [1,2]. It was\nshown by others.[3] This is new.\n\nMETHODS\nAs before [2-4].\n\n"
    "References\n\n1. Smith J. First title. J. 2001.\n2. Lee K. Second title\n   that goes on. J. 2002.\n3. Kim A. Third. J. 2003.\n";

TEST(Citations, OfANumberedArticle) {
  const ArticleCitations found = find_citations(kNumbered);
  EXPECT_EQ(found.style, CitationStyle::brackets);
  ASSERT_EQ(found.references.size(), 3u);
  EXPECT_EQ(found.references[1].title, "Second title that goes on");
  ASSERT_EQ(found.sentences.size(), 2u);  // [2-4] cannot be: there are three references
  EXPECT_EQ(found.sentences[0].text, "Introduction Things are known [1,2].");
  EXPECT_EQ(found.sentences[1].text, "It was shown by others.[3]");
  EXPECT_EQ(found.sentences[1].citations.at(0).reference, 2);
  EXPECT_EQ(found.resolved, 3);
  EXPECT_EQ(found.unresolved, 0);
}

TEST(Citations, OfAuthorsAndYears) {
  const ArticleCitations found = find_citations(
      "# Background\n\nStress is bad (Smith & Jones, 2010; Müller et al., 2003b). Lee (2012) disagrees. Nothing here. But see Doe (1999).\n\n"
      "## References\nJones, A. (2010). Another one. Journal.\nSmith, J., & Jones, K. (2010). The one. Journal.\n"
      "Muller, P. (2003a). First. Journal.\nMüller, P., Lee, K., & Kim, B. (2003b). Second. Journal.\nLee, K. (2012). Third. Journal.\n");
  EXPECT_EQ(found.style, CitationStyle::author_year);
  ASSERT_EQ(found.references.size(), 5u);
  ASSERT_EQ(found.sentences.size(), 3u);
  EXPECT_EQ(found.sentences[0].section, "Background");
  EXPECT_EQ(found.sentences[0].citations.at(0).reference, 1);
  EXPECT_EQ(found.sentences[0].citations.at(1).reference, 3);
  EXPECT_EQ(found.sentences[1].text, "Lee (2012) disagrees.");
  EXPECT_EQ(found.sentences[1].citations.at(0).reference, 4);
  EXPECT_EQ(found.sentences[2].citations.at(0).reference, -1);
  EXPECT_EQ(found.unresolved, 1);
}

TEST(Citations, SuperscriptsEndSentences) {
  const ArticleCitations found = find_citations("Many were ill.1 Most got well.2,3 In Spain they did not,4 as all know.");
  EXPECT_EQ(found.style, CitationStyle::superscript);
  ASSERT_EQ(found.sentences.size(), 3u);
  EXPECT_EQ(found.sentences[0].text, "Many were ill.1");
  EXPECT_EQ(found.sentences[1].text, "Most got well.2,3");
  EXPECT_EQ(found.sentences[2].text, "In Spain they did not,4 as all know.");
}

TEST(Citations, NumbersOfEquationsAreNone) {
  EXPECT_EQ(find_citations("Equation (17) and (40) give x (99). Nothing else [230].").style, CitationStyle::automatic);
  EXPECT_TRUE(find_citations("").sentences.empty());
  EXPECT_THROW(citation_style_from("apa"), Error);
}

// Any text at all.
TEST(Citations, TakeAnyText) {
  constexpr std::string_view kPieces[] = {"[", "]", "(", ")", "1", "23", "2010", "a", ",", ";", "-", "–", " ", "\n", "\n\n", ".", "Smith", "et al.", "&", "and", "References\n", "word", "é", "\"", "“", "”"};
  uint64_t state = 9;
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (int n = 0; n < 40; ++n) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      text += kPieces[(state >> 33) % std::size(kPieces)];
    }
    for (const auto style : {CitationStyle::automatic, CitationStyle::brackets, CitationStyle::parentheses, CitationStyle::superscript, CitationStyle::author_year}) {
      int64_t last = 0;
      for (const CitingSentence& s : find_citations(text, style).sentences) {
        EXPECT_GE(s.place.begin, last);
        EXPECT_GT(s.place.end, s.place.begin);
        EXPECT_LE(s.place.end, static_cast<int64_t>(text.size()));
        last = s.place.begin;
      }
    }
  }
}

}  // namespace
}  // namespace triax::tasks
