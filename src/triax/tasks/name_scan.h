// Reading names and years of authors, for the sources of this module.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace triax::tasks {

// A word (letters with hyphens and apostrophes within), a number, or one character of something else.
struct Piece {
  size_t begin = 0, end = 0;
  enum Kind { word, number, other } kind = other;
  bool capital = false;  // a word that begins with one
};
std::vector<Piece> pieces_of(std::string_view text);

// 1600 to 2099.
bool is_year(std::string_view digits);
// "van", "de", "el" ... : may stand before a surname in small letters.
bool is_particle(std::string_view word);
// Capitalized words that are no surnames where a year follows: months, "Table", "Version" ...
bool is_never_a_surname(std::string_view word);
// "J", "JK", "J.-P" as it stands before or after a surname.
bool is_initials(std::string_view word);
// Without accents, capitals and what is no letter: names compare by this.
std::string folded_name(std::string_view name);

}  // namespace triax::tasks
