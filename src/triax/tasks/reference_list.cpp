#include <algorithm>
#include <array>
#include <charconv>

#include "triax/base/text.h"
#include "triax/tasks/answer_text.h"
#include "triax/tasks/citations.h"
#include "triax/tasks/name_scan.h"
#include "triax/tasks/records.h"

namespace triax::tasks {
namespace {

// A line alone that says where the list begins: "References", "## REFERENCES", "7. Literature Cited:".
bool is_heading(std::string_view line) {
  std::string_view text = trim(line);
  if (text.size() > 40) return false;
  const size_t letter = text.find_first_not_of("#*= \t0123456789.");
  if (letter == std::string_view::npos) return false;
  text.remove_prefix(letter);
  while (!text.empty() && std::string_view(":*=# .").find(text.back()) != std::string_view::npos) text.remove_suffix(1);
  std::string lowered = lower_case(text);
  if (const size_t dot = lowered.rfind('.'); dot != std::string::npos) lowered.erase(0, dot + 1);  // "BODY.REFERENCES"
  constexpr std::array<std::string_view, 7> kHeadings = {"references", "reference list", "bibliography", "literature cited",
                                                         "works cited", "literature", "references and notes"};
  return std::find(kHeadings.begin(), kHeadings.end(), lowered) != kHeadings.end();
}

// What comes behind a list of references in some articles.
bool ends_list(std::string_view line) {
  const std::string text = lower_case(trim(line));
  return text.size() < 60 && (text.starts_with("appendix") || text.starts_with("supplement") || text.starts_with("acknowledg") ||
                              text.starts_with("figure legends") || text.starts_with("# ") || text.starts_with("## "));
}

// "[12] ", "12. ", "12) " at the beginning of an entry: its number, and how many bytes that is.
int leading_number(std::string_view entry, size_t& length) {
  size_t at = entry.starts_with('[') || entry.starts_with('(') ? 1 : 0;
  int number = 0;
  const auto [end, error] = std::from_chars(entry.data() + at, entry.data() + std::min(entry.size(), at + 4), number);
  if (error != std::errc() || number <= 0) return 0;
  at = static_cast<size_t>(end - entry.data());
  if (at < entry.size() && std::string_view("].)").find(entry[at]) != std::string_view::npos) {
    ++at;
  } else if (at >= entry.size() || (entry[at] != ' ' && entry[at] != '\t')) {
    return 0;
  }
  length = at;
  return number;
}

bool has_year(std::string_view entry) {
  for (const Piece& piece : pieces_of(entry))
    if (piece.kind == Piece::number && is_year(entry.substr(piece.begin, piece.end - piece.begin))) return true;
  return false;
}

std::vector<std::string> entries_of(std::string_view list) {
  std::vector<std::string> entries;
  bool blank = true, numbered = false, over = false;
  for_each_line(list, [&](std::string_view line, uint64_t) {
    const std::string_view text = trim(line);
    if (over) return;
    if (text.empty()) {
      blank = true;
      return;
    }
    if (!entries.empty() && ends_list(text)) {
      over = true;
      return;
    }
    size_t length = 0;
    const int number = leading_number(text, length);
    if (entries.empty()) numbered = number > 0;
    // Numbered lists begin entries with the next number only; others where a blank line or an indented
    // block ends, or where the entry before has had its year.
    const bool indented = line.starts_with(' ') || line.starts_with('\t');
    const bool begins = numbered ? number == static_cast<int>(entries.size()) + 1 || (number > 0 && blank)
                                 : blank || (!indented && has_year(entries.back()) && pieces_of(text).front().capital);
    if (entries.empty() || begins) {
      entries.emplace_back(text);
    } else {
      entries.back() += " ";
      entries.back() += text;
    }
    blank = false;
  });
  return entries;
}

// Surnames of what stands before the title: words of at least two letters that are not initials.
std::vector<std::string> surnames_of(std::string_view authors) {
  std::vector<std::string> names;
  const auto pieces = pieces_of(authors);
  for (size_t i = 0; i < pieces.size() && names.size() < 8; ++i) {
    const auto word = authors.substr(pieces[i].begin, pieces[i].end - pieces[i].begin);
    if (pieces[i].kind != Piece::word || !pieces[i].capital || word.size() < 2) continue;
    if (is_initials(word) && !names.empty()) continue;  // an organization's may come first
    std::string name(word);
    if (i > 0 && pieces[i - 1].kind == Piece::word && is_particle(authors.substr(pieces[i - 1].begin, pieces[i - 1].end - pieces[i - 1].begin)))
      name = std::string(authors.substr(pieces[i - 1].begin, pieces[i - 1].end - pieces[i - 1].begin)) + " " + name;
    names.push_back(name);
  }
  return names;
}

// Up to the stop that ends a sentence; "vs." and initials do not.
std::string_view first_sentence(std::string_view text) {
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '.' && text[at] != '?' && text[at] != '!') continue;
    const bool ends = at + 1 >= text.size() || text[at + 1] == ' ';
    const size_t word = text.substr(0, at).find_last_of(' ') + 1;
    // "Lee K. Second title": an initial behind a surname, and no comma, ends the authors of Vancouver's style.
    const bool last_initial = at - word == 1 && word > 1 && text[word - 2] >= 'a' && text[word - 2] <= 'z' && at + 3 < text.size() &&
                              text[at + 2] >= 'A' && text[at + 2] <= 'Z' && text[at + 3] >= 'a' && text[at + 3] <= 'z';
    if (ends && (at - word > 1 || last_initial) && text.substr(word, at - word) != "vs") return text.substr(0, text[at] == '.' ? at : at + 1);
  }
  return text;
}

std::string_view strip(std::string_view text) {
  while (!text.empty() && std::string_view(" .,:;()\"").find(text.front()) != std::string_view::npos) text.remove_prefix(1);
  while (!text.empty() && std::string_view(" ,:;(").find(text.back()) != std::string_view::npos) text.remove_suffix(1);
  return text;
}

// "Lee, J. & Kim, S. A." of "Lee, J. & Kim, S. A. Title. Journal 5, 1-9 (2010)." (Nature): up to "et al.", or to an
// initial that a word follows without a comma; empty where there is neither.
std::string_view authors_with_initials(std::string_view entry) {
  if (const size_t others = entry.find(" et al. "); others != std::string_view::npos) return entry.substr(0, others + 7);
  const auto is_capital = [&](size_t i) { return i < entry.size() && entry[i] >= 'A' && entry[i] <= 'Z'; };
  for (size_t at = entry.find('.'); at != std::string_view::npos; at = entry.find('.', at + 1)) {
    if (at < 2 || !is_capital(at - 1) || std::string_view(" .-").find(entry[at - 2]) == std::string_view::npos) continue;
    const size_t next = at + 2;
    if (at + 1 < entry.size() && entry[at + 1] == ' ' && is_capital(next) && next + 1 < entry.size() && entry[next + 1] != '.') return entry.substr(0, at + 1);
  }
  return {};
}

// Between quotation marks, as IEEE writes titles; empty where there are none.
std::string_view quoted(std::string_view text) {
  for (const auto& [open, close] : {std::pair<std::string_view, std::string_view>{"\u201c", "\u201d"}, {"\"", "\""}}) {
    const size_t begin = text.find(open);
    if (begin == std::string_view::npos) continue;
    const size_t end = text.find(close, begin + open.size());
    if (end != std::string_view::npos) return strip(text.substr(begin + open.size(), end - begin - open.size()));
  }
  return {};
}

}  // namespace

Reference parse_reference(std::string_view entry, int place) {
  Reference reference;
  entry = trim(entry);
  size_t length = 0;
  const int number = leading_number(entry, length);
  reference.number = number > 0 ? number : place;
  if (number > 0) entry = trim(entry.substr(length));
  reference.text = entry;
  // The year in brackets, or else the last one that is none of pages and the like.
  const auto pieces = pieces_of(entry);
  size_t year_at = entry.size(), year_end = entry.size();
  bool enclosed = false;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto digits = entry.substr(pieces[i].begin, pieces[i].end - pieces[i].begin);
    if (pieces[i].kind != Piece::number || !is_year(digits) || enclosed) continue;
    const bool joined = (pieces[i].begin > 0 && std::string_view("-:/").find(entry[pieces[i].begin - 1]) != std::string_view::npos) ||
                        (pieces[i].end < entry.size() && std::string_view("-/").find(entry[pieces[i].end]) != std::string_view::npos);
    const bool in_brackets = i > 0 && entry[pieces[i - 1].begin] == '(';
    if (joined || (!in_brackets && year_at < entry.size())) continue;
    enclosed = in_brackets;
    reference.year = digits;
    year_at = pieces[i].begin, year_end = pieces[i].end;
    if (i + 1 < pieces.size() && pieces[i + 1].kind == Piece::word && pieces[i + 1].begin == pieces[i].end && pieces[i + 1].end - pieces[i + 1].begin == 1) {
      reference.year += entry[pieces[i + 1].begin];
      year_end = pieces[i + 1].end;
    }
  }
  const std::string_view title = quoted(entry);
  const std::string_view before_year = entry.substr(0, year_at);
  if (!title.empty()) {
    reference.title = title;
    reference.surnames = surnames_of(entry.substr(0, static_cast<size_t>(title.data() - entry.data())));
  } else if (const auto named = authors_with_initials(entry); enclosed && strip(entry.substr(year_end)).find_first_not_of(".") == std::string_view::npos && !named.empty()) {
    reference.surnames = surnames_of(named);
    reference.title = first_sentence(strip(entry.substr(named.size())));
  } else if (enclosed && year_at < entry.size() && first_sentence(strip(before_year)).size() == strip(before_year).size()) {
    // "Authors (2010). Title."
    reference.surnames = surnames_of(before_year);
    reference.title = first_sentence(strip(entry.substr(std::min(entry.size(), year_end + 1))));
  } else {  // "Authors. Title. Journal 2010"
    const std::string_view authors = first_sentence(entry);
    reference.surnames = surnames_of(authors);
    if (authors.size() < entry.size()) reference.title = first_sentence(strip(entry.substr(authors.size())));
  }
  return reference;
}

std::vector<Reference> read_reference_list(std::string_view article, size_t& body_end) {
  size_t list = std::string_view::npos;
  body_end = article.size();
  for_each_line(article, [&](std::string_view line, uint64_t) {
    const size_t begin = static_cast<size_t>(line.data() - article.data());
    if (is_heading(line)) body_end = begin, list = begin + line.size();
  });
  std::vector<Reference> references;
  if (list == std::string_view::npos) return references;
  for (const std::string& entry : entries_of(article.substr(list)))
    references.push_back(parse_reference(entry, static_cast<int>(references.size()) + 1));
  return references;
}

}  // namespace triax::tasks
