#include <algorithm>
#include <charconv>
#include <optional>

#include "triax/base/text.h"
#include "triax/tasks/citations.h"
#include "triax/tasks/name_scan.h"
#include "triax/text/utf8.h"

namespace triax::tasks {
namespace {

constexpr int kLongestRange = 60;  // "[1-200]" is no list of references

// Length of a dash at `at`: hyphen, en dash and their kin; 0 where there is none.
size_t dash_length(std::string_view text, size_t at) {
  if (at >= text.size()) return 0;
  const auto c = text::decode_utf8(text, at);
  return c.code == '-' || (c.code >= 0x2010 && c.code <= 0x2014) || c.code == 0x2212 ? c.length : 0;
}

size_t skip_spaces(std::string_view text, size_t at) {
  while (at < text.size()) {
    if (text[at] == ' ') ++at;
    else if (text.substr(at, 2) == "\u00a0") at += 2;
    else if (text.substr(at, 3) == "\u2009" || text.substr(at, 3) == "\u202f") at += 3;
    else break;
  }
  return at;
}

std::optional<int> read_number(std::string_view text, size_t& at, int largest) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data() + at, text.data() + std::min(text.size(), at + 4), value);
  const auto next = static_cast<size_t>(end - text.data());
  if (error != std::errc() || text[at] == '0' || text[at] == '-' || value > largest || (next < text.size() && is_digit(text[next]))) return std::nullopt;
  at = next;
  return value;
}

// "3", "3,5", "3-7, 9": the numbers, and `at` behind them. Empty when it is no such list.
std::vector<int> read_list(std::string_view text, size_t& at, int largest, bool spaces) {
  std::vector<int> numbers;
  size_t end = at;
  for (size_t next = at;;) {
    const auto first = read_number(text, next, largest);
    if (!first) break;
    numbers.push_back(*first);
    end = next;
    size_t after = spaces ? skip_spaces(text, next) : next;
    if (const size_t dash = dash_length(text, after)) {
      after += dash;
      if (spaces) after = skip_spaces(text, after);
      const auto last = read_number(text, after, largest);
      if (!last || *last <= *first || *last - *first > kLongestRange) return {};
      for (int n = *first + 1; n <= *last; ++n) numbers.push_back(n);
      end = after;
      after = spaces ? skip_spaces(text, after) : after;
    }
    if (after >= text.size() || (text[after] != ',' && text[after] != ';')) break;
    next = after + 1;
    // Superscripts: "4, 5" too, but not "word4, 2010".
    next = skip_spaces(text, next);
  }
  at = end;
  return numbers;
}

void add_numbers(const std::vector<int>& numbers, ByteRange place, std::vector<Citation>& found) {
  for (const int n : numbers) {
    Citation c;
    c.place = place;
    c.number = n;
    found.push_back(std::move(c));
  }
}

// What stands before byte `at`, white space passed over.
std::string_view before(std::string_view text, size_t at) {
  while (at > 0 && (text[at - 1] == ' ' || text[at - 1] == '\n')) --at;
  return text.substr(0, at);
}

// The mean and its range in a table: "34 [17-64]", "9 (3 – 46)"; counts: "120 (12)"; items of a list:
// "; (2) they had", "and (3) no".
bool is_data(std::string_view text, size_t at, char open, size_t numbers, bool is_range) {
  const std::string_view lead = before(text, at);
  if (lead.empty()) return false;
  if (is_digit(lead.back()) && (is_range || open == '(')) return true;
  if (open != '(' || numbers > 1) return false;
  if (std::string_view(",;:").find(lead.back()) != std::string_view::npos) return true;
  return lead.ends_with(" and") || lead.ends_with(" or");
}

// "[3-7]" and "(3-7)": nothing but numbers inside, or "see", "e.g." and "reviewed in" before them.
std::vector<Citation> find_enclosed(std::string_view text, char open, char close, int largest) {
  std::vector<Citation> found;
  for (size_t at = text.find(open); at != std::string_view::npos; at = text.find(open, at + 1)) {
    size_t inside = skip_spaces(text, at + 1);
    for (const std::string_view lead : {"see ", "e.g. ", "e.g., ", "reviewed in ", "ref. ", "refs. ", "Ref. ", "Refs. ", "for review see "})
      if (text.substr(inside, lead.size()) == lead) inside += lead.size();
    if (inside >= text.size() || !is_digit(text[inside])) continue;
    const size_t list = inside;
    const auto numbers = read_list(text, inside, largest, true);
    const bool is_range = numbers.size() > 1 && text.substr(list, inside - list).find_first_of(",;") == std::string_view::npos;
    inside = skip_spaces(text, inside);
    if (is_data(text, at, open, numbers.size(), is_range)) continue;
    if (!numbers.empty() && inside < text.size() && text[inside] == close) add_numbers(numbers, ByteRange::of(at, inside + 1), found);
  }
  return found;
}

// "activities2, 3.", "life.7–9": digits right behind a word of small letters or its stop. Not "CO2", "p53"
// or "3.5".
std::vector<Citation> find_superscripts(std::string_view text, int largest) {
  std::vector<Citation> found;
  for (size_t at = 1; at < text.size(); ++at) {
    if (!is_digit(text[at]) || is_digit(text[at - 1])) continue;
    size_t word = at;
    if (word > 0 && std::string_view(".,;:)\"").find(text[word - 1]) != std::string_view::npos) --word;
    size_t letters = word;
    while (letters > 0 && ((text[letters - 1] >= 'a' && text[letters - 1] <= 'z') || text[letters - 1] == '-')) --letters;
    const bool bracket = word < at && text[word] == ')';
    if (word == 0 || (word - letters < 3 && !bracket) || text[word - 1] == '-') continue;  // "omega-3"
    if (bracket && is_digit(text[word - 1])) continue;  // "27 (85.7)30": columns of a table
    size_t end = at;
    const auto numbers = read_list(text, end, largest, false);
    // Behind it comes the end, white space or punctuation, and not ".5", "%" or more of a word.
    const auto next = end < text.size() ? text::decode_utf8(text, end).code : uint32_t{' '};
    const bool ends = next == ' ' || next == '\n' || next == 0xA0 || (next < 128 && std::string_view(".,;:)(]\"'").find(static_cast<char>(next)) != std::string_view::npos);
    const bool decimal = next == '.' && end + 1 < text.size() && is_digit(text[end + 1]);
    const bool counts = text.substr(end).starts_with(" (") && end + 2 < text.size() && is_digit(text[end + 2]);  // "men31 (88.6)"
    if (numbers.empty() || !ends || decimal || counts) continue;
    add_numbers(numbers, ByteRange::of(at, end), found);
    at = end - 1;
  }
  return found;
}

// Authors and years: a year is read, then the names before it, backwards.
class AuthorYears {
 public:
  explicit AuthorYears(std::string_view text) : text_(text), pieces_(pieces_of(text)) {}

  std::vector<Citation> find() {
    for (size_t i = 0; i < pieces_.size(); ++i) {
      track_brackets(i);
      if (pieces_[i].kind == Piece::number && is_year(of(i)) && !part_of_number(i)) at_year(i);
    }
    return std::move(found_);
  }

 private:
  std::string_view of(size_t i) const { return text_.substr(pieces_[i].begin, pieces_[i].end - pieces_[i].begin); }
  bool is(size_t i, std::string_view what) const { return i < pieces_.size() && of(i) == what; }
  bool is_word(size_t i) const { return i < pieces_.size() && pieces_[i].kind == Piece::word; }

  void track_brackets(size_t i) {
    if (of(i) == "(" || of(i) == "[") opened_.push_back(i);
    if ((of(i) == ")" || of(i) == "]") && !opened_.empty()) opened_.pop_back();
  }
  // "2010/11", "1900-2000", "No. 2004": digits that touch other digits or signs.
  bool part_of_number(size_t i) const {
    const size_t end = pieces_[i].end, begin = pieces_[i].begin;
    if (end < text_.size() && (text_[end] == '/' || text_[end] == '%' || dash_length(text_, end))) return true;
    return begin > 0 && (text_[begin - 1] == '/' || text_[begin - 1] == '.' || text_[begin - 1] == '-' || text_.substr(0, begin).ends_with("\u2013"));
  }

  void at_year(size_t i) {
    std::string year(of(i));
    size_t next = i + 1;
    if (is_word(next) && pieces_[next].begin == pieces_[i].end && of(next).size() == 1) year += of(next++);
    Citation c;
    const bool continues = !found_.empty() && i > 0 && (is(i - 1, ",") || is(i - 1, ";") || is(i - 1, "and") || is(i - 1, "&")) && last_piece_ + 1 == i - 1;
    if (read_authors(i, c)) {
      c.year = year;
    } else if (continues) {  // "Smith 2010, 2011"
      c = found_.back();
      c.year = year;
      c.place = ByteRange::of(pieces_[i].begin, pieces_[next - 1].end);
    } else {
      return;
    }
    if (c.place.end == 0) {
      // "Smith (2010)" with its brackets.
      const bool enclosed = i > 0 && (is(i - 1, "(") || is(i - 1, "[")) && (is(next, ")") || is(next, "]"));
      c.place.end = static_cast<int64_t>(pieces_[enclosed ? next : next - 1].end);
    }
    found_.push_back(c);
    // "2010a,b"
    while (year.size() == 5 && is(next, ",") && is_word(next + 1) && of(next + 1).size() == 1) {
      c.year = year.substr(0, 4) + std::string(of(next + 1));
      c.place = ByteRange::of(pieces_[next + 1].begin, pieces_[next + 1].end);
      found_.push_back(c);
      next += 2;
    }
    last_piece_ = next - 1;
  }

  // The names that end before piece `year`.
  bool read_authors(size_t year, Citation& c) {
    size_t at = year;  // one past what is still to be read
    const bool enclosed = at > 0 && (is(at - 1, "(") || is(at - 1, "["));
    if (enclosed) --at;
    while (at > 0 && is(at - 1, ",")) --at;
    size_t stop = at;
    if (at > 0 && is(at - 1, ".")) --stop;
    if (stop >= 2 && is(stop - 1, "al") && is(stop - 2, "et")) {
      c.et_al = true;
      at = stop - 2;
      while (at > 0 && is(at - 1, ",")) --at;
    } else if (at >= 2 && (is(at - 1, "colleagues") || is(at - 1, "coworkers") || is(at - 1, "co-workers")) && (is(at - 2, "and") || is(at - 2, "&"))) {
      c.et_al = true;
      at -= 2;
    }
    std::vector<std::string> names;
    size_t first = at;
    while (read_name(at, first, names)) {
    }
    if (names.empty()) return false;
    // Without brackets around year or citation, "... by Smith 2010" is only believed with "et al.".
    if (!c.et_al && !enclosed && opened_.empty()) return false;
    std::reverse(names.begin(), names.end());
    if (names.size() == 1 && !c.et_al && is_never_a_surname(names[0])) return false;
    c.author = names[0];
    if (names.size() == 2) c.second = names[1];
    if (names.size() > 2) c.et_al = true;
    c.place.begin = static_cast<int64_t>(pieces_[first].begin);
    return true;
  }

  // One more name before piece `at`, and what joins it to the names read before (which stand behind it).
  bool read_name(size_t& at, size_t& first, std::vector<std::string>& names) {
    size_t i = at;
    if (!names.empty()) {
      const bool joined = i > 0 && (is(i - 1, "and") || is(i - 1, "&"));
      if (joined) --i;
      const bool comma = i > 0 && is(i - 1, ",");
      if (comma) --i;
      if (!joined && !comma) return false;
    }
    // Initials may follow a surname: "Smith J", "Smith, J."
    size_t behind = i;
    while (behind > 0 && (is(behind - 1, ".") || (is_word(behind - 1) && of(behind - 1).size() <= 2 && is_initials(of(behind - 1))))) --behind;
    if (behind < i && behind > 0 && is(behind - 1, ",")) --behind;
    if (behind < i && behind > 0 && is_word(behind - 1) && pieces_[behind - 1].capital) i = behind;
    if (i == 0 || !is_word(i - 1) || !pieces_[i - 1].capital || of(i - 1).size() < 2) return false;
    if (is_never_a_surname(of(i - 1)) && !names.empty()) return false;
    size_t begin = i - 1;
    std::string name(of(begin));
    while (begin > 0 && is_word(begin - 1) && is_particle(of(begin - 1)) && pieces_[begin - 1].end + 1 == pieces_[begin].begin)
      name = std::string(of(--begin)) + " " + name;
    // Capitalized particles, and further words of a name within the brackets ("World Health Organization").
    while (begin > 0 && is_word(begin - 1) && pieces_[begin - 1].capital && pieces_[begin - 1].end + 1 == pieces_[begin].begin &&
           (is_capital_particle(of(begin - 1)) || (!opened_.empty() && opened_.back() < begin - 1 && !is_never_a_surname(of(begin - 1)))))
      name = std::string(of(--begin)) + " " + name;
    names.push_back(name);
    at = first = begin;
    return true;
  }
  static bool is_capital_particle(std::string_view word) {
    return word == "Van" || word == "Von" || word == "De" || word == "El" || word == "Al" || word == "Da" || word == "Di" || word == "La" || word == "Le" || word == "Del";
  }

  std::string_view text_;
  std::vector<Piece> pieces_;
  std::vector<size_t> opened_;
  std::vector<Citation> found_;
  size_t last_piece_ = 0;  // of the last citation
};

}  // namespace

std::vector<Citation> find_marks(std::string_view text, CitationStyle style, int largest) {
  switch (style) {
    case CitationStyle::brackets: return find_enclosed(text, '[', ']', largest);
    case CitationStyle::parentheses: return find_enclosed(text, '(', ')', largest);
    case CitationStyle::superscript: return find_superscripts(text, largest);
    case CitationStyle::author_year: return AuthorYears(text).find();
    case CitationStyle::automatic: break;
  }
  return {};
}

}  // namespace triax::tasks
