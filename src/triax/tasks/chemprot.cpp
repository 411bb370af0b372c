#include "triax/tasks/chemprot.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <tuple>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/data/sentences.h"
#include "triax/tasks/relation.h"
#include "triax/text/utf8.h"

namespace triax::tasks {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNone = "false";  // no relation that counts

// The file of another kind that belongs to "..._abstracts.tsv"; of "..._abstracts_gs.tsv" with or without "_gs".
std::optional<fs::path> beside(const fs::path& abstracts, std::string_view kind) {
  std::string name = abstracts.filename().string();
  for (const std::string_view own : {"abstracts", "abstracs"}) {  // the second is DrugProt's spelling
    const size_t at = name.rfind(own);
    if (at == std::string::npos) continue;
    name.replace(at, own.size(), kind);
    std::string plain = name;
    if (const size_t gs = plain.rfind("_gs."); gs != std::string::npos) plain.erase(gs, 3);
    for (const std::string& candidate : {name, plain})
      if (fs::exists(abstracts.parent_path() / candidate)) return abstracts.parent_path() / candidate;
    return std::nullopt;
  }
  return std::nullopt;
}

std::optional<size_t> number_of(std::string_view text) {
  size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

struct ChemprotEntity {
  bool chemical = false;
  size_t begin = 0, end = 0;  // bytes of the article
  uint64_t line = 0;
};

struct ChemprotArticle {
  std::string text;
  std::vector<size_t> characters;  // first byte of each, and one past the last
  uint64_t line = 0;
  std::map<std::string, ChemprotEntity> entities;
  std::map<std::pair<std::string, std::string>, std::string> relations;  // of chemical and gene
};

struct RelationLine {
  std::string article, label, first, second;
};

// Of either form; a reason where it is none.
std::string read_relation(std::string_view line, RelationLine& relation) {
  const auto cells = split(line, '\t');
  if (cells.size() != 4 && cells.size() != 6) return fmt::format("{} columns, where relations have 4 or 6", cells.size());
  std::string first(trim(cells[cells.size() - 2])), second(trim(cells.back()));
  if (!first.starts_with("Arg1:") || !second.starts_with("Arg2:")) return "its last two columns are not Arg1:... and Arg2:...";
  relation = {std::string(trim(cells[0])), std::string(trim(cells[1])), first.substr(5), second.substr(5)};
  if (relation.article.empty() || relation.label.empty()) return "its article or its class is empty";
  if (relation.label.starts_with("CPR:")) relation.label = chemprot_group(relation.label);
  return "";
}

void for_each_record(const fs::path& path, std::string_view text, const CaseOptions& options, BadRecords& bad,
                     const std::function<std::string(std::string_view, uint64_t)>& read) {
  for_each_line(text, [&](std::string_view line, uint64_t number) {
    if (trim(line).empty()) return;
    const std::string wrong = find_invalid_utf8(line) == std::string_view::npos ? read(line, number) : "not UTF-8";
    if (!wrong.empty()) refuse(options, bad, fmt::format("{}: {}", place(path, number), wrong));
  });
}

class ChemprotReader {
 public:
  ChemprotReader(const fs::path& path, const CaseOptions& options) : path_(path), options_(options) {}

  CaseFile read(std::string_view text) {
    for_each_record(path_, text, options_, file_.bad, [&](std::string_view line, uint64_t number) { return article(line, number); });
    check(!articles_.empty() || file_.bad.count > 0, "{}: there is nothing in it", path_.string());
    const auto entities = beside(path_, "entities");
    check(entities.has_value(), "{}: there is no file of entities beside it", path_.string());
    for_each_record(*entities, read_text(*entities), options_, file_.bad, [&](std::string_view line, uint64_t number) { return entity(line, number); });
    auto relations = beside(path_, "relations");
    if (!relations) relations = beside(path_, "gold_standard");
    check(relations || !options_.need_label, "{}: there is neither a file of relations nor a gold_standard beside it", path_.string());
    if (relations && options_.need_label)
      for_each_record(*relations, read_text(*relations), options_, file_.bad, [&](std::string_view line, uint64_t) { return relation(line); });
    for (const std::string& id : order_) add_cases(id, articles_.at(id));
    return std::move(file_);
  }

 private:
  std::string article(std::string_view line, uint64_t number) {
    const auto cells = split(line, '\t');
    if (cells.size() != 3) return fmt::format("{} columns, where abstracts have 3: article, title, abstract", cells.size());
    ChemprotArticle a;
    a.text = cells[1] + " " + cells[2];
    for (size_t at = 0; at < a.text.size(); at += text::decode_utf8(a.text, at).length) a.characters.push_back(at);
    a.characters.push_back(a.text.size());
    a.line = number;
    if (!articles_.emplace(cells[0], std::move(a)).second) return fmt::format("article {} was there before", excerpt(cells[0]));
    order_.push_back(cells[0]);
    return "";
  }

  std::string entity(std::string_view line, uint64_t number) {
    const auto cells = split(line, '\t');
    if (cells.size() != 6) return fmt::format("{} columns, where entities have 6", cells.size());
    const auto found = articles_.find(cells[0]);
    if (found == articles_.end()) return fmt::format("article {} is not among the abstracts", excerpt(cells[0]));
    ChemprotArticle& a = found->second;
    if (cells[2] != "CHEMICAL" && !cells[2].starts_with("GENE")) return fmt::format("\"{}\" is neither CHEMICAL nor GENE", excerpt(cells[2]));
    const auto begin = number_of(trim(cells[3])), end = number_of(trim(cells[4]));
    if (!begin || !end || *begin >= *end || *end >= a.characters.size()) return fmt::format("{} to {} is no place of article {}", excerpt(cells[3]), excerpt(cells[4]), cells[0]);
    const ChemprotEntity e{cells[2] == "CHEMICAL", a.characters[*begin], a.characters[*end], number};
    if (a.text.substr(e.begin, e.end - e.begin) != cells[5])
      return fmt::format("\"{}\" is not at its place, where \"{}\" stands", excerpt(cells[5]), excerpt(a.text.substr(e.begin, e.end - e.begin)));
    if (!a.entities.emplace(cells[1], e).second) return fmt::format("entity {} of article {} was there before", excerpt(cells[1]), cells[0]);
    return "";
  }

  std::string relation(std::string_view line) {
    RelationLine r;
    std::string wrong = read_relation(line, r);
    if (!wrong.empty()) return wrong;
    const auto found = articles_.find(r.article);
    if (found == articles_.end()) return fmt::format("article {} is not among the abstracts", excerpt(r.article));
    ChemprotArticle& a = found->second;
    for (std::string* name : {&r.first, &r.second})
      if (!a.entities.contains(*name)) return fmt::format("article {} has no entity {}", r.article, excerpt(*name));
    if (!a.entities.at(r.first).chemical) std::swap(r.first, r.second);
    if (!a.entities.at(r.first).chemical || a.entities.at(r.second).chemical) return fmt::format("{} and {} are not a chemical and a gene", r.first, r.second);
    if (r.label == kNone) return "";
    const auto [at, is_new] = a.relations.emplace(std::pair(r.first, r.second), r.label);
    if (is_new || at->second != r.label) ++file_.out_of_reach;  // until a case has it
    return "";
  }

  // Of an article: none is within a name.
  std::vector<size_t> sentence_ends(const ChemprotArticle& a) {
    std::vector<size_t> ends;
    const auto& sentences = splitter_.split(a.text);
    for (const std::string_view sentence : sentences) {
      const auto end = static_cast<size_t>(sentence.data() + sentence.size() - splitter_.text().data());
      const bool inside = std::any_of(a.entities.begin(), a.entities.end(), [&](const auto& e) { return e.second.begin < end && end < e.second.end; });
      if (!inside) ends.push_back(end);
    }
    if (ends.empty() || ends.back() < a.text.size()) ends.push_back(a.text.size());
    return ends;
  }

  void add_cases(const std::string& id, const ChemprotArticle& a) {
    size_t begin = 0;
    for (const size_t end : sentence_ends(a)) {
      std::vector<std::pair<std::string, ChemprotEntity>> chemicals, genes;
      for (const auto& [name, e] : a.entities)
        if (e.begin >= begin && e.end <= end) (e.chemical ? chemicals : genes).emplace_back(name, e);
      for (const auto& chemical : chemicals)
        for (const auto& gene : genes) add_case(id, a, begin, end, chemical, gene);
      begin = end;
    }
  }

  void add_case(const std::string& id, const ChemprotArticle& a, size_t begin, size_t end, const std::pair<std::string, ChemprotEntity>& chemical,
                const std::pair<std::string, ChemprotEntity>& gene) {
    const ChemprotEntity &c = chemical.second, &g = gene.second;
    if (c.begin < g.end && g.begin < c.end) return;  // one within the other cannot be marked
    const auto label = a.relations.find({chemical.first, gene.first});
    if (label != a.relations.end()) --file_.out_of_reach;
    TextCase made;
    made.id = fmt::format("{} {} {}", id, chemical.first, gene.first);
    made.line = a.line;
    const bool chemical_first = c.begin < g.begin;
    const ChemprotEntity &first = chemical_first ? c : g, &second = chemical_first ? g : c;
    const auto piece = [&](size_t from, size_t to) { return plain(a.text.substr(from, to - from)); };
    const auto marked = [&](const ChemprotEntity& e) { return (e.chemical ? "[[ " : "<< ") + piece(e.begin, e.end) + (e.chemical ? " ]]" : " >>"); };
    made.text = trim(piece(begin, first.begin) + marked(first) + piece(first.end, second.begin) + marked(second) + piece(second.end, end));
    if (options_.need_label) made.label = label == a.relations.end() ? kNone : label->second;
    file_.cases.push_back(std::move(made));
  }

  // Brackets of the text itself are not to be taken for marks.
  static std::string plain(std::string text) {
    for (const std::string_view mark : {"<<", ">>", "[[", "]]"})
      for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark)) text.insert(at + 1, " ");
    return text;
  }

  const fs::path& path_;
  const CaseOptions& options_;
  CaseFile file_;
  std::map<std::string, ChemprotArticle> articles_;
  std::vector<std::string> order_;
  SentenceSplitter splitter_{"en"};
};

using RelationSet = std::set<std::tuple<std::string, std::string, std::string, std::string>>;  // class, article, entities

RelationSet read_relations(const fs::path& path) {
  RelationSet relations;
  for_each_line(read_text(path), [&](std::string_view line, uint64_t number) {
    if (trim(line).empty()) return;
    RelationLine r;
    const std::string wrong = read_relation(line, r);
    check(wrong.empty(), "{}: {}", place(path, number), wrong);
    if (r.label != kNone) relations.emplace(r.label, r.article, r.first, r.second);
  });
  return relations;
}

}  // namespace

bool is_chemprot_abstracts(const fs::path& path) { return beside(path, "entities").has_value(); }

CaseFile parse_chemprot(std::string_view text, const fs::path& path, const CaseOptions& options) { return ChemprotReader(path, options).read(text); }

std::string chemprot_line(std::string_view id, std::string_view label) {
  const auto parts = split(id, ' ');
  check(parts.size() == 3, "\"{}\" is not an article and two entities", id);
  return fmt::format("{}\t{}\tArg1:{}\tArg2:{}\n", parts[0], label, parts[1], parts[2]);
}

Counts ChemprotScore::total() const {
  Counts all;
  for (const auto& [name, counts] : by_class) all += counts;
  return all;
}

ChemprotScore score_chemprot(const fs::path& predictions, const fs::path& gold) {
  const RelationSet found = read_relations(predictions), right = read_relations(gold);
  ChemprotScore score;
  for (const auto& relation : right) ++score.by_class[std::get<0>(relation)].gold;
  for (const auto& relation : found) {
    Counts& counts = score.by_class[std::get<0>(relation)];
    ++counts.found;
    counts.correct += right.contains(relation);
  }
  return score;
}

}  // namespace triax::tasks
