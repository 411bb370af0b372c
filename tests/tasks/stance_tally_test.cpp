#include "triax/tasks/stance_tally.h"

#include <gtest/gtest.h>

namespace triax::tasks {
namespace {

TEST(StanceTally, TheSameWorkWhoeverCitesIt) {
  const CitedWork a{.key = "3", .author = "Müller", .year = "2010a", .title = "Aspirin in Phase 2 trials", .entry = "3. Müller A (2010a) Aspirin ..."};
  const CitedWork b{.key = "Muller 2010", .author = "Muller", .year = "2010", .title = "aspirin, in phase 2 Trials.", .entry = "Muller A. 2010."};
  CitedWork phase3 = a;
  phase3.title = "Aspirin in Phase 3 trials";
  EXPECT_EQ(work_identity(a, "x"), work_identity(b, "y"));
  EXPECT_NE(work_identity(a, "x"), work_identity(phase3, "x"));
  // Without titles their entries tell, and without those only the article knows.
  EXPECT_EQ(work_identity({.key = "1", .author = {}, .year = {}, .title = {}, .entry = "Lee, J. Nature 5"}, "x"),
            work_identity({.key = "9", .author = {}, .year = {}, .title = {}, .entry = "LEE J, Nature 5"}, "y"));
  const CitedWork unknown{.key = "1", .author = {}, .year = {}, .title = {}, .entry = {}};
  EXPECT_EQ(work_identity(unknown, "x"), work_identity(unknown, "x"));
  EXPECT_NE(work_identity(unknown, "x"), work_identity(unknown, "y"));
}

TEST(StanceTally, CountsByArticleAndByWork) {
  const CitedWork known{.key = "2", .author = "Lee", .year = "2012", .title = "Cats\tpurr", .entry = "Lee 2012. Cats purr."}, unknown{.key = "1", .author = {}, .year = {}, .title = {}, .entry = {}};
  StanceTally tally({"supporting", "contrasting", "mentioning"});
  tally.add("x", "As shown.", unknown, 2, 0.9);
  tally.add("x", "We agree.", known, 0, 0.7);
  tally.add("x", "We do <not> agree.", known, 1, 0.8);
  EXPECT_EQ(tally.take_article_rows(false), "");  // x may go on
  tally.add("y", "Neither do we.", known, 1, 0.95);
  EXPECT_EQ(tally.article_header(), "article\tcites\tauthor\tyear\ttitle\ttimes\tsupporting\tcontrasting\tmentioning\n");
  EXPECT_EQ(tally.take_article_rows(false), "x\t1\t\t\t\t1\t0\t0\t1\nx\t2\tLee\t2012\tCats purr\t2\t1\t1\t0\n");
  EXPECT_EQ(tally.take_article_rows(true), "y\t2\tLee\t2012\tCats purr\t1\t0\t1\t0\n");
  EXPECT_EQ(tally.take_article_rows(true), "");
  EXPECT_EQ(tally.works_table(),
            "author\tyear\ttitle\tarticles\ttimes\tsupporting\tcontrasting\tmentioning\nLee\t2012\tCats purr\t2\t3\t1\t2\t0\nx: 1\t\t\t1\t1\t0\t0\t1\n");
  EXPECT_EQ(tally.citations(), 4);
  EXPECT_EQ(tally.articles(), 2);
  EXPECT_EQ(tally.totals(), (std::vector<int64_t>{1, 2, 1}));
  const std::string page = tally.page("A & B");
  EXPECT_NE(page.find("<h1>A &amp; B</h1>"), std::string::npos);
  EXPECT_NE(page.find("x: “We agree.” (70 %)"), std::string::npos) << page;
  EXPECT_NE(page.find("Most often supporting"), std::string::npos);
  EXPECT_EQ(page.find("Most often contrasting"), std::string::npos);  // that is the usual stance here
}

}  // namespace
}  // namespace triax::tasks
