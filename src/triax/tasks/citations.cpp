#include "triax/tasks/citations.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/data/sentences.h"
#include "triax/tasks/name_scan.h"

namespace triax::tasks {
namespace {

constexpr int kLargestNumber = 999;
// Numbers of references first appear one after the other; so far may one be ahead (a table read early).
constexpr int kAhead = 5;

constexpr std::array kNumericStyles = {CitationStyle::brackets, CitationStyle::parentheses, CitationStyle::superscript};

// Keeps the marks whose numbers come as those of references do.
class InOrder {
 public:
  explicit InOrder(int largest) : largest_(largest) {}
  bool believable(int number) const { return number <= std::min(largest_, seen_ + kAhead); }
  void see(int number) { seen_ = std::max(seen_, number); }

 private:
  int largest_, seen_ = 0;
};

// Whether all numbers of the mark that begins at marks[i] are believable; `end` is one past its last.
bool believable_mark(const std::vector<Citation>& marks, size_t i, InOrder& order, size_t& end) {
  end = i;
  bool all = true;
  InOrder trial = order;
  for (; end < marks.size() && marks[end].place == marks[i].place; ++end) {
    all = all && trial.believable(marks[end].number);
    if (all) trial.see(marks[end].number);
  }
  if (all) order = trial;
  return all;
}

std::vector<Citation> in_order(std::vector<Citation> marks, InOrder& order) {
  std::vector<Citation> kept;
  for (size_t i = 0, end = 0; i < marks.size(); i = end)
    if (believable_mark(marks, i, order, end)) kept.insert(kept.end(), marks.begin() + static_cast<std::ptrdiff_t>(i), marks.begin() + static_cast<std::ptrdiff_t>(end));
  return kept;
}

struct Evidence {
  int64_t marks = 0;   // that are believable
  int distinct = 0;    // numbers seen
};

Evidence evidence_for(std::string_view body, CitationStyle style, int largest) {
  InOrder order(largest);
  const auto kept = in_order(find_marks(body, style, largest), order);
  std::vector<int> numbers;
  for (const Citation& c : kept) numbers.push_back(c.number);
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return {static_cast<int64_t>(kept.size()), static_cast<int>(numbers.size())};
}

// A numeric style needs at least three references in order; among several the one with most. Author and
// year wins where it is as frequent as the numbers, which then are those of equations and lists.
CitationStyle detect(std::string_view body, int largest) {
  CitationStyle best = CitationStyle::automatic;
  int most = 2;
  for (const CitationStyle style : kNumericStyles) {
    const Evidence e = evidence_for(body, style, largest);
    if (e.distinct > most) best = style, most = e.distinct;
  }
  const auto named = static_cast<int>(find_marks(body, CitationStyle::author_year, 0).size());
  if (named > 0 && named >= most) return CitationStyle::author_year;
  return best;
}

struct Stretch {
  size_t begin = 0, end = 0;
};

// As the splitter sees it, so that its sentences are found again: line ends within paragraphs are spaces.
std::string unwrap(std::string_view text) {
  std::string out(text);
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] != '\n' && out[i] != '\r') continue;
    const size_t run = i;
    int newlines = 0;
    while (i < out.size() && (out[i] == '\n' || out[i] == '\r')) newlines += out[i++] == '\n';
    if (newlines < 2) std::fill(out.begin() + static_cast<std::ptrdiff_t>(run), out.begin() + static_cast<std::ptrdiff_t>(i), ' ');
  }
  return out;
}

bool is_stop(char c) { return c == '.' || c == '?' || c == '!'; }

// Numeric marks behind a full stop confuse the splitter: "mortality.1–6 According to" is no boundary for it,
// "antagonist.[15] The" one within the mark. Such a mark belongs to the sentence before it, and ends it.
// `marks` are those of the whole body; `next` is the first that may lie here.
void correct_borders(std::string_view body, const std::vector<Citation>& marks, size_t& next, std::vector<Stretch>& sentences) {
  std::vector<Stretch> out;
  for (Stretch s : sentences) {
    while (next < marks.size() && static_cast<size_t>(marks[next].place.end) <= s.begin) ++next;
    for (; next < marks.size() && static_cast<size_t>(marks[next].place.begin) < s.end; ++next) {
      const auto begin = static_cast<size_t>(marks[next].place.begin), end = static_cast<size_t>(marks[next].place.end);
      const bool at_start = begin <= s.begin && !out.empty();
      const bool behind_stop = begin > 0 && is_stop(body[begin - 1]);
      if (at_start) {
        out.back().end = std::max(out.back().end, end);
      } else if (behind_stop && begin > s.begin) {
        out.push_back({s.begin, end});
      } else {
        continue;
      }
      s.begin = std::max(s.begin, end);
      while (s.begin < s.end && (body[s.begin] == ' ' || body[s.begin] == '\n' || body[s.begin] == '\r')) ++s.begin;
      if (s.begin >= s.end) break;
    }
    if (s.begin < s.end) out.push_back(s);
  }
  sentences = std::move(out);
}

std::string on_one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (!space) out += c;
    else if (!out.empty() && out.back() != ' ') out += ' ';
  }
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

// "# Methods", "BODY.METHODS:", "METHODS", "2. Methods" on a line of their own.
bool is_section_heading(std::string_view line) {
  const std::string_view text = trim(line);
  if (text.empty() || text.size() > 100 || text.ends_with('.') || text.find(' ') == 0) return false;
  if (text.starts_with('#') || text.ends_with(':')) return true;
  const bool capitals = std::none_of(text.begin(), text.end(), [](char c) { return c >= 'a' && c <= 'z'; }) &&
                        std::any_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  return capitals && text.size() > 3;
}

struct Section {
  size_t begin = 0, end = 0;  // of its text, without the heading
  std::string heading;
};

std::vector<Section> sections_of(std::string_view body) {
  std::vector<Section> sections(1);
  for (size_t begin = 0; begin < body.size();) {
    const size_t end = std::min(body.find('\n', begin), body.size());
    const std::string_view line = body.substr(begin, end - begin);
    if (is_section_heading(line)) {
      std::string_view name = trim(line);
      while (!name.empty() && (name.front() == '#' || name.front() == ' ')) name.remove_prefix(1);
      while (name.ends_with(':')) name.remove_suffix(1);
      sections.back().end = begin;
      sections.push_back({std::min(end + 1, body.size()), 0, std::string(name)});
    }
    begin = end + 1;
  }
  sections.back().end = body.size();
  return sections;
}

std::vector<Stretch> sentences_of(std::string_view body, const Section& section, const std::vector<Citation>& marks, size_t next,
                                  SentenceSplitter& splitter) {
  const std::string text = unwrap(body.substr(section.begin, section.end - section.begin));
  std::vector<Stretch> sentences;
  size_t cursor = 0;
  for (const std::string_view sentence : splitter.split(text)) {
    const size_t begin = text.find(sentence, cursor);
    cursor = begin + sentence.size();
    sentences.push_back({section.begin + begin, section.begin + cursor});
  }
  if (!marks.empty() && marks.front().number > 0) correct_borders(body, marks, next, sentences);
  return sentences;
}

// Names behind "et al." are not compared; the year's letter only where both have one.
bool means(const Citation& c, const Reference& r) {
  if (r.surnames.empty() || r.year.substr(0, 4) != c.year.substr(0, 4)) return false;
  if (c.year.size() == 5 && r.year.size() == 5 && c.year != r.year) return false;
  const std::string author = folded_name(c.author);
  const std::string first = folded_name(r.surnames[0]);
  if (first != author && !(author.size() > 3 && (author.ends_with(first) || author.starts_with(first)))) return false;
  return c.second.empty() || r.surnames.size() < 2 || folded_name(r.surnames[1]) == folded_name(c.second);
}

void resolve(Citation& c, const std::vector<Reference>& references) {
  for (size_t i = 0; i < references.size(); ++i) {
    const bool same = c.number > 0 ? references[i].number == c.number : means(c, references[i]);
    if (!same) continue;
    c.reference = static_cast<int>(i);
    return;
  }
}

}  // namespace

CitationStyle citation_style_from(std::string_view name) {
  for (const CitationStyle style : {CitationStyle::automatic, CitationStyle::brackets, CitationStyle::parentheses,
                                    CitationStyle::superscript, CitationStyle::author_year})
    if (citation_style_name(style) == name) return style;
  fail("\"{}\" is not a style of citations; auto, brackets, parentheses, superscript and author-year are", name);
}

std::string_view citation_style_name(CitationStyle style) {
  constexpr std::array<std::string_view, 5> kNames = {"auto", "brackets", "parentheses", "superscript", "author-year"};
  return kNames[static_cast<size_t>(style)];
}

std::string Citation::key() const {
  if (number > 0) return std::to_string(number);
  return author + (et_al ? " et al." : second.empty() ? "" : " & " + second) + " " + year;
}

ArticleCitations find_citations(std::string_view article, CitationStyle style) {
  ArticleCitations result;
  size_t body_end = article.size();
  result.references = read_reference_list(article, body_end);
  const std::string_view body = article.substr(0, body_end);
  int largest = kLargestNumber;
  if (!result.references.empty()) {
    largest = 0;
    for (const Reference& r : result.references) largest = std::max(largest, r.number);
  }
  result.style = style == CitationStyle::automatic ? detect(body, largest) : style;
  if (result.style == CitationStyle::automatic) return result;

  std::vector<Citation> marks = find_marks(body, result.style, largest);
  if (result.style != CitationStyle::author_year) {
    InOrder order(largest);
    marks = in_order(std::move(marks), order);
  }
  size_t next = 0;
  SentenceSplitter splitter("en");
  for (const Section& section : sections_of(body))
    for (const Stretch& stretch : sentences_of(body, section, marks, next, splitter)) {
      CitingSentence sentence;
      while (next < marks.size() && static_cast<size_t>(marks[next].place.begin) < stretch.end) {
        Citation c = std::move(marks[next++]);
        if (!result.references.empty()) {
          resolve(c, result.references);
          ++(c.reference >= 0 ? result.resolved : result.unresolved);
        }
        sentence.citations.push_back(std::move(c));
      }
      if (sentence.citations.empty()) continue;
      sentence.place = {static_cast<int64_t>(stretch.begin), static_cast<int64_t>(stretch.end)};
      sentence.text = on_one_line(body.substr(stretch.begin, stretch.end - stretch.begin));
      sentence.section = section.heading;
      result.sentences.push_back(std::move(sentence));
    }
  return result;
}

}  // namespace triax::tasks
