// Which sentences of an article cite what: numbers ("[3-7]", "(3, 5)", superscripts that became "word3,4")
// and authors with years ("Smith et al. (2010)", "(Smith & Jones, 2010a, b; Lee 2012)"), and the entries
// of the reference list they mean, where the text has one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "triax/text/tokenizer.h"

namespace triax::tasks {

enum class CitationStyle { automatic, brackets, parentheses, superscript, author_year };
// "auto", "brackets", "parentheses", "superscript", "author-year". Throws on other names.
CitationStyle citation_style_from(std::string_view name);
std::string_view citation_style_name(CitationStyle style);

// An entry of the reference list.
struct Reference {
  int number = 0;                     // as it is numbered, or its place from 1
  std::string text;                   // on one line
  std::vector<std::string> surnames;  // of the authors that could be told
  std::string year;                   // "2010", "2010a", or empty
  std::string title;                  // or empty where it cannot be told
};

// One thing that is cited at one place.
struct Citation {
  ByteRange place;        // of its mark in the article: "[3-7]", or "Smith et al., 2010"
  int number = 0;         // of a numeric style
  std::string author;     // first surname, of author and year
  std::string second;     // the other one's of two authors
  bool et_al = false;
  std::string year;
  int reference = -1;     // index into ArticleCitations::references; -1: not there
  // "3", "Smith et al. 2010": the same for the same work within an article without a reference list.
  std::string key() const;
};

struct CitingSentence {
  ByteRange place;        // in the article
  std::string text;       // on one line
  std::string section;    // the last heading before it
  std::vector<Citation> citations;
};

struct ArticleCitations {
  CitationStyle style = CitationStyle::automatic;  // the one found; automatic: no citations
  std::vector<CitingSentence> sentences;
  std::vector<Reference> references;
  int64_t resolved = 0, unresolved = 0;  // citations, where there is a reference list
};

// `article` is valid UTF-8. With `automatic`, the numeric style is the one whose numbers come as those of
// references do (first seen in ascending order); author-year citations are looked for unless a numeric
// style is clearly more frequent.
ArticleCitations find_citations(std::string_view article, CitationStyle style = CitationStyle::automatic);

// The pieces of it.
// Entries behind the last heading such as "References"; `body_end` is where that heading begins, or the
// size of the article.
std::vector<Reference> read_reference_list(std::string_view article, size_t& body_end);
Reference parse_reference(std::string_view entry, int place);
// Marks in a piece of text, in order; places are within it. Numeric marks are taken at face value: ranges
// are opened, numbers above `largest` make the mark none.
std::vector<Citation> find_marks(std::string_view text, CitationStyle style, int largest);

}  // namespace triax::tasks
