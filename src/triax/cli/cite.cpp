#include <fmt/core.h>

#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/progress.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"
#include "triax/data/document_reader.h"
#include "triax/data/pack.h"
#include "triax/tasks/citations.h"
#include "triax/tasks/records.h"

namespace triax::cli {
namespace {

using namespace tasks;

struct CiteFlags {
  std::vector<std::string> files;
  std::string output, table, style = "auto", field = "text", id = "id", format = "auto";
  bool skip_bad = false, force = false;
};

struct Article {
  std::string id, text;
};

struct Totals {
  int64_t articles = 0, with_citations = 0, sentences = 0, citations = 0, resolved = 0, unresolved = 0;
  std::map<std::string, int64_t> styles;
};

// Absent, with the reason, when the line is no article.
std::optional<Article> article_of(std::string_view line, const CiteFlags& o, const std::string& place, std::string& reason) {
  const Json json = Json::parse_or_null(line);
  if (!json.is_object()) return reason = "not a JSON object", std::nullopt;
  const auto text = json.find(o.field);
  if (!text || !text->is_text()) return reason = fmt::format("there is no text \"{}\"", o.field), std::nullopt;
  const auto id = json.find(o.id);
  std::string name = !id ? place : id->is_text() ? id->text() : id->dump();
  return Article{std::move(name), text->text()};
}

Json reference_json(const Reference& r) {
  return {{"number", r.number}, {"authors", r.surnames}, {"year", r.year}, {"title", r.title}, {"text", r.text}};
}

std::string sentence_line(const Article& article, const ArticleCitations& found, size_t index) {
  const CitingSentence& s = found.sentences[index];
  Json citations = Json::array();
  for (const Citation& c : s.citations) {
    Json json = {{"key", c.key()}, {"mark", article.text.substr(static_cast<size_t>(c.place.begin), static_cast<size_t>(c.place.end - c.place.begin))},
                 {"begin", c.place.begin}, {"end", c.place.end}};
    if (c.reference >= 0) json["reference"] = reference_json(found.references[static_cast<size_t>(c.reference)]);
    citations.push_back(std::move(json));
  }
  return Json{{"article", article.id}, {"sentence", index}, {"section", s.section}, {"begin", s.place.begin}, {"end", s.place.end},
              {"text", s.text}, {"citations", citations}}.dump() + "\n";
}

// One row for each work that the article cites.
std::string table_rows(const Article& article, const ArticleCitations& found) {
  struct Row {
    int64_t count = 0;
    std::string sentences;
    int reference = -1;
  };
  std::vector<std::string> order;
  std::map<std::string, Row> rows;
  for (size_t s = 0; s < found.sentences.size(); ++s)
    for (const Citation& c : found.sentences[s].citations) {
      const std::string key = c.reference >= 0 ? std::to_string(c.reference) : c.key();
      Row& row = rows[key];
      if (row.count++ == 0) order.push_back(key), row.reference = c.reference;
      const std::string number = std::to_string(s);
      if (row.sentences.empty()) row.sentences = number;
      else if (!row.sentences.ends_with("," + number) && row.sentences != number) row.sentences += "," + number;
    }
  std::string text;
  for (const std::string& key : order) {
    const Row& row = rows[key];
    const Reference* r = row.reference >= 0 ? &found.references[static_cast<size_t>(row.reference)] : nullptr;
    text += fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\n", tab_cell(article.id), r ? std::to_string(r->number) : tab_cell(key), row.count, row.sentences,
                        r && !r->surnames.empty() ? tab_cell(r->surnames[0]) : "", r ? r->year : "", r ? tab_cell(r->title) : "");
  }
  return text;
}

class Extractor {
 public:
  explicit Extractor(const CiteFlags& o) : o_(o), style_(citation_style_from(o.style)) {
    if (!o.output.empty()) sentences_ = std::make_unique<FileWriter>(o.output);
    if (!o.table.empty()) {
      table_ = std::make_unique<FileWriter>(o.table);
      put(table_.get(), "article\tcites\ttimes\tsentences\tauthor\tyear\ttitle\n");
    }
  }

  void take(const Article& article) {
    const ArticleCitations found = find_citations(article.text, style_);
    ++totals_.articles;
    if (!found.sentences.empty()) ++totals_.with_citations, ++totals_.styles[std::string(citation_style_name(found.style))];
    totals_.sentences += static_cast<int64_t>(found.sentences.size());
    totals_.resolved += found.resolved, totals_.unresolved += found.unresolved;
    for (size_t i = 0; i < found.sentences.size(); ++i) {
      totals_.citations += static_cast<int64_t>(found.sentences[i].citations.size());
      put(sentences_.get(), sentence_line(article, found, i));
    }
    if (table_) put(table_.get(), table_rows(article, found));
  }

  const Totals& finish() {
    if (sentences_) sentences_->commit();
    if (table_) table_->commit();
    return totals_;
  }

 private:
  // Without a file, to standard output.
  void put(FileWriter* file, const std::string& text) {
    if (file) file->write(text.data(), text.size());
    else std::fwrite(text.data(), 1, text.size(), stdout);
  }
  const CiteFlags& o_;
  CitationStyle style_;
  std::unique_ptr<FileWriter> sentences_, table_;
  Totals totals_;
};

// The articles of a batch, in order.
void take_batch(const DocumentBatch& batch, const CiteFlags& o, const tasks::ReadOptions& reading, BadRecords& bad, Extractor& extractor) {
  const auto refuse_at = [&](uint64_t line, const std::string& reason) {
    refuse(reading, bad, fmt::format("{}: {}", place(*batch.file, line), reason));
  };
  if (batch.format != DocumentFormat::jsonl) {
    const Article article{batch.file->filename().string(), std::string(batch.text())};
    if (find_invalid_utf8(article.text) != std::string::npos) return refuse_at(1, "not UTF-8");
    return extractor.take(article);
  }
  for_each_line(batch.text(), [&](std::string_view line, uint64_t number) {
    if (trim(line).empty()) return;
    const uint64_t at = batch.begin.line + number - 1;
    std::string reason;
    const auto article = article_of(line, o, place(*batch.file, at), reason);
    article ? extractor.take(*article) : refuse_at(at, reason);
  });
}

void extract(const CiteFlags& o) {
  if (!o.force) refuse_existing({o.output, o.table});
  const DocumentOptions documents{.format = document_format_from(o.format), .field = o.field, .skip_bad = o.skip_bad};
  check(documents.format != DocumentFormat::paragraphs, "--format paragraphs: an article is a whole file or a JSON line");
  DocumentReader reader(expand_inputs({o.files.begin(), o.files.end()}), documents);
  Extractor extractor(o);
  Progress progress("extracting", reader.total_bytes());
  BadRecords bad;
  for (DocumentBatch batch; reader.next(batch);) {
    bad.add(batch.too_long);
    take_batch(batch, o, {.skip_bad = o.skip_bad}, bad, extractor);
    progress.update(batch.source_bytes);
  }
  progress.finish();
  const Totals& t = extractor.finish();
  warn_left_out(bad, "the input");
  std::string styles;
  for (const auto& [name, count] : t.styles) styles += fmt::format("{}{} {}", styles.empty() ? "" : ", ", count, name);
  fmt::print(stderr, "{} articles, {} with citations ({}); {} citing sentences, {} citations", t.articles, t.with_citations, styles, t.sentences, t.citations);
  if (t.resolved + t.unresolved > 0)
    fmt::print(stderr, "; {} of {} found in the reference lists", t.resolved, t.resolved + t.unresolved);
  fmt::print(stderr, "\n");
}

}  // namespace

void add_cite_command(Command app) {
  Command command = app.add_subcommand("cite", "Find what articles say about the works they cite");
  auto o = std::make_shared<CiteFlags>();
  Command sub = command.add_subcommand("extract", "Find the sentences that cite, and what they cite");
  sub.add_option("files", o->files, "articles: JSON lines, or text files; plain, .gz or .zst; or folders of them").required().type_name("FILE");
  sub.add_option("-o,--output", o->output, "JSON lines to write, one a citing sentence; without it, standard output").type_name("FILE");
  sub.add_option("--table", o->table, "who cites whom, how often and where, as tab-separated columns").type_name("FILE");
  sub.add_option("--style", o->style, "auto (told for each article), brackets [3-7], parentheses (3-7), superscript word3,4, or author-year")
      .type_name("NAME").show_default();
  sub.add_option("--format", o->format, "auto (by the names), jsonl or text").type_name("NAME").show_default();
  sub.add_option("--field", o->field, "field of the JSON objects that holds the text").type_name("NAME").show_default();
  sub.add_option("--id", o->id, "field that names the article").type_name("NAME").show_default();
  sub.add_flag("--skip-bad", o->skip_bad, "leave out records that are not JSON or not UTF-8, and count them");
  sub.add_flag("--force", o->force, "replace what is there");
  sub.keep_options_apart();
  sub.callback([o] { extract(*o); });
  add_cite_stance_command(command);
  command.require_subcommand();
  command.footer(
      "Reference lists are read where the text has one (a line \"References\" before it).\n"
      "Examples:\n"
      "  triax cite extract articles.jsonl -o citing.jsonl --table who-cites-whom.tsv\n"
      "  triax cite extract --style author-year thesis.txt\n"
      "  triax cite stance citing.jsonl -m runs/stance/seed-1/best -o stances.jsonl --report stances.html");
}

}  // namespace triax::cli
