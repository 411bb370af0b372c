#include "triax/tasks/relation.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "triax/base/error.h"
#include "triax/base/text.h"

namespace triax::tasks {
namespace {

// The one place between `open` and `close`; `count` tells how many there are.
std::optional<MarkedEntity> between(std::string_view text, std::string_view open, std::string_view close, int& count) {
  std::optional<MarkedEntity> found;
  count = 0;
  for (size_t at = text.find(open); at != std::string_view::npos; at = text.find(open, at + open.size())) {
    const size_t end = text.find(close, at + open.size());
    if (end == std::string_view::npos) break;
    size_t first = at + open.size(), last = end;
    while (first < last && text[first] == ' ') ++first;
    while (last > first && text[last - 1] == ' ') --last;
    if (first == last) continue;
    found = MarkedEntity{ByteRange::of(at, end + close.size()), ByteRange::of(first, last)};
    ++count;
  }
  return found;
}

std::vector<MarkedEntity> hidden_names(std::string_view text) {
  std::vector<MarkedEntity> found;
  for (size_t at = text.find('@'); at != std::string_view::npos; at = text.find('@', at + 1)) {
    size_t end = at + 1;
    while (end < text.size() && (text[end] == '-' || text[end] == '_' || (text[end] >= 'A' && text[end] <= 'Z'))) ++end;
    if (end > at + 1 && end < text.size() && text[end] == '$') found.push_back({ByteRange::of(at, end + 1), ByteRange::of(at, end + 1)});
  }
  return found;
}

}  // namespace

std::optional<MarkedPair> find_marked(std::string_view text, std::string& reason) {
  constexpr std::array<std::array<std::string_view, 4>, 2> kStyles = {{{"<<", ">>", "[[", "]]"}, {"[E1]", "[/E1]", "[E2]", "[/E2]"}}};
  for (const auto& style : kStyles) {
    int first_count = 0, second_count = 0;
    const auto first = between(text, style[0], style[1], first_count);
    const auto second = between(text, style[2], style[3], second_count);
    if (first_count == 0 && second_count == 0) continue;
    if (first_count != 1 || second_count != 1) {
      reason = fmt::format("{} entities are marked by {} {} and {} by {} {}; one of each is expected", first_count, style[0],
                           style[1], second_count, style[2], style[3]);
      return std::nullopt;
    }
    if (first->whole.begin < second->whole.end && second->whole.begin < first->whole.end) {
      reason = "the two marked entities overlap";
      return std::nullopt;
    }
    return MarkedPair{*first, *second};
  }
  const auto hidden = hidden_names(text);
  if (hidden.size() == 2) return MarkedPair{hidden[0], hidden[1]};
  reason = hidden.empty() ? "no entities are marked; << a >> and [[ b ]], @GENE$ and @CHEMICAL$, or [E1] a [/E1] and [E2] b [/E2] are expected"
                          : fmt::format("{} entities are marked by @...$; two are expected", hidden.size());
  return std::nullopt;
}

std::string hide_names(std::string_view text, const MarkedPair& pair, std::string_view first, std::string_view second) {
  std::string out(text);
  const auto replace = [&](const ByteRange& at, std::string_view by) {
    out.replace(static_cast<size_t>(at.begin), static_cast<size_t>(at.end - at.begin), by);
  };
  const bool in_order = pair.first.whole.begin < pair.second.whole.begin;
  // The later one first, so that the other's place holds.
  replace(in_order ? pair.second.whole : pair.first.whole, in_order ? second : first);
  replace(in_order ? pair.first.whole : pair.second.whole, in_order ? first : second);
  return out;
}

void check_marks(CaseFile& file, const std::filesystem::path& path, const ReadOptions& options) {
  std::erase_if(file.cases, [&](const TextCase& c) {
    std::string reason;
    if (find_marked(c.text, reason)) return false;
    refuse(options, file.bad, fmt::format("{}: {}", place(path, c.line), reason));
    return true;
  });
}

std::string chemprot_group(std::string_view type) {
  std::string name(type);
  std::replace(name.begin(), name.end(), '_', '-');
  const auto is = [&](std::initializer_list<std::string_view> names) { return std::find(names.begin(), names.end(), name) != names.end(); };
  if (name.starts_with("CPR:")) return is({"CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9"}) ? name : "false";
  if (is({"UPREGULATOR", "ACTIVATOR", "INDIRECT-UPREGULATOR"})) return "CPR:3";
  if (is({"DOWNREGULATOR", "INHIBITOR", "INDIRECT-DOWNREGULATOR"})) return "CPR:4";
  if (is({"AGONIST", "AGONIST-ACTIVATOR", "AGONIST-INHIBITOR"})) return "CPR:5";
  if (is({"ANTAGONIST"})) return "CPR:6";
  if (is({"SUBSTRATE", "PRODUCT-OF", "SUBSTRATE-PRODUCT-OF"})) return "CPR:9";
  return "false";
}

}  // namespace triax::tasks
