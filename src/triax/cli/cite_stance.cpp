#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/log.h"
#include "triax/base/progress.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"
#include "triax/data/document_reader.h"
#include "triax/data/pack.h"
#include "triax/finetune/model_folder.h"
#include "triax/finetune/predict.h"
#include "triax/kernels/device_queue.h"
#include "triax/tasks/records.h"
#include "triax/tasks/stance_tally.h"

namespace triax::cli {
namespace {

using namespace finetune;
using tasks::CitedWork;
using tasks::StanceTally;

struct StanceFlags {
  std::vector<std::string> files;
  std::string model, output, table, works, report;
  TunedModelOptions load;
  bool skip_bad = false, force = false;
};

// A line that `triax cite extract` wrote.
struct Citing {
  Json line;
  const std::string& article() const { return line["article"].text(); }
  const std::string& sentence() const { return line["text"].text(); }
};

bool is_citing(const Json& json) {
  const auto is_text = [&](const char* name) { const Json* v = json.find(name); return v && v->is_text(); };
  const Json* citations = json.find("citations");
  if (!is_text("article") || !is_text("text") || json["text"].text().empty() || !citations || !citations->is_array()) return false;
  for (const Json& c : *citations) {
    const Json* key = c.find("key");
    const Json* reference = c.find("reference");
    if (!key || !key->is_text() || (reference && !reference->is_object())) return false;
  }
  return true;
}

CitedWork cited_work(const Json& citation) {
  CitedWork work;
  work.key = citation["key"].text();
  const Json* reference = citation.find("reference");
  if (!reference) return work;
  const auto text = [&](const char* name) { const Json* v = reference->find(name); return v && v->is_text() ? v->text() : std::string(); };
  work.year = text("year");
  work.title = text("title");
  work.entry = text("text");
  if (const Json* authors = reference->find("authors"); authors && !authors->empty() && (*authors)[0].is_text()) work.author = (*authors)[0].text();
  return work;
}

// What a model says of citations, in the order of the sentences.
class StanceModel {
 public:
  StanceModel(const std::string& folder, const TunedModelOptions& load)
      : tuned_(load_tuned_model(folder, load, nullptr, make_queue(load.device, "--device cuda", "--device cpu"))), tokens_(load.tokens) {
    const TaskKind kind = tuned_.options.kind;
    check(kind == TaskKind::stance || kind == TaskKind::classify, "{}: a model tuned for {} tells no stances; one of `triax finetune stance` does", folder, task_name(kind));
  }
  const std::vector<std::string>& stances() const { return tuned_.task->labels(); }

  struct Answer {
    size_t stance = 0;
    double probability = 0;
  };
  // One answer a sentence; one a citation with a model of pairs, which also sees the cited title.
  std::vector<Answer> answer(const std::vector<Citing>& sentences) {
    std::string cases;
    for (const Citing& s : sentences) {
      if (!of_pairs()) cases += case_of(s, nullptr);
      else for (const Json& c : s.line["citations"]) cases += case_of(s, &c);
    }
    const auto set = tuned_.task->parse(cases, "citing sentences", false);
    std::vector<Answer> answers;
    for (const Logits& logits : predict_all(*tuned_.engine, set->examples, tokens_)) {  // an example a case
      const std::vector<double> p = softmax(logits.data(), std::ssize(logits));
      const auto best = std::max_element(p.begin(), p.end());
      answers.push_back({static_cast<size_t>(best - p.begin()), *best});
    }
    return answers;
  }
  bool of_pairs() const { return !tuned_.options.data.pair.empty(); }

 private:
  std::string case_of(const Citing& s, const Json* citation) const {
    const DataSection& fields = tuned_.options.data;
    Json json = Json::object();
    json[fields.text] = s.sentence();
    if (citation) json[fields.pair] = cited_work(*citation).title;
    if (!fields.id.empty()) json[fields.id] = s.article();
    return json.dump() + "\n";
  }
  TunedModel tuned_;
  int64_t tokens_;
};

// Sentences in, their lines, the tables and the page out.
class StanceRun {
 public:
  explicit StanceRun(const StanceFlags& o) : o_(o), model_(o.model, o.load), tally_(model_.stances()), lines_(std::make_unique<FileWriter>(o.output)) {
    if (o.table.empty()) return;
    table_ = std::make_unique<FileWriter>(o.table);
    put(*table_, tally_.article_header());
  }

  void take(std::vector<Citing>& sentences) {
    if (sentences.empty()) return;
    const auto answers = model_.answer(sentences);
    size_t next = 0;
    for (Citing& s : sentences) {
      for (Json& c : s.line["citations"]) {
        check(next < answers.size(), "{} answers for more citing sentences", answers.size());
        const auto [stance, probability] = answers[next];
        if (model_.of_pairs()) ++next;
        c["stance"] = model_.stances()[stance];
        c["probability"] = probability;
        tally_.add(s.article(), s.sentence(), cited_work(c), stance, probability);
      }
      if (!model_.of_pairs()) ++next;
      put(*lines_, s.line.dump() + "\n");
    }
    check(next == answers.size(), "{} answers for {} questions", answers.size(), next);
    if (table_) put(*table_, tally_.take_article_rows(false));
  }

  const StanceTally& finish() {
    lines_->commit();
    if (table_) put(*table_, tally_.take_article_rows(true)), table_->commit();
    if (!o_.works.empty()) write_file_atomic(o_.works, tally_.works_table());
    if (!o_.report.empty()) write_file_atomic(o_.report, tally_.page("Who cites whom, and how"));
    return tally_;
  }

 private:
  static void put(FileWriter& file, const std::string& text) { file.write(text.data(), text.size()); }
  const StanceFlags& o_;
  StanceModel model_;
  StanceTally tally_;
  std::unique_ptr<FileWriter> lines_, table_;
};

void tell_stances(const StanceFlags& o) {
  if (!o.force) refuse_existing({o.output, o.table, o.works, o.report});
  check(o.load.tokens >= 1, "--tokens {}: must be positive", o.load.tokens);
  DocumentReader reader(expand_inputs({o.files.begin(), o.files.end()}), {.format = DocumentFormat::jsonl, .skip_bad = o.skip_bad});
  StanceRun run(o);
  Progress progress("telling stances", reader.total_bytes());
  BadRecords bad;
  std::vector<Citing> sentences;
  for (DocumentBatch batch; reader.next(batch);) {
    bad.add(batch.too_long);
    sentences.clear();
    tasks::for_each_line(batch.text(), [&](std::string_view line, uint64_t number) {
      if (is_blank(line)) return;
      Json json = Json::parse_or_null(line);
      if (is_citing(json)) sentences.push_back({std::move(json)});
      else tasks::refuse({.skip_bad = o.skip_bad}, bad, fmt::format("{}: not a line of `triax cite extract`", tasks::place(*batch.file, batch.begin.line + number - 1)));
    });
    run.take(sentences);
    progress.update(batch.source_bytes);
  }
  progress.finish();
  tasks::warn_left_out(bad, "the input");
  const StanceTally& tally = run.finish();
  const std::vector<int64_t> counts = tally.totals();
  std::string totals;
  for (size_t s = 0; s < counts.size(); ++s) totals += fmt::format("{}{} {}", s ? ", " : "", counts[s], tally.stances()[s]);
  fmt::print(stderr, "{} articles cite {} works {} times: {}\n", tally.articles(), tally.works(), tally.citations(), totals);
}

}  // namespace

void add_cite_stance_command(Command cite) {
  Command sub = cite.add_subcommand("stance", "Tell who supports or contrasts whom, with a model of `triax finetune stance`");
  auto o = std::make_shared<StanceFlags>();
  sub.add_option("files", o->files, "what `triax cite extract` wrote; plain, .gz or .zst").required().type_name("FILE");
  sub.add_option("-m,--model", o->model, "folder of the model: seed-<n>/best of a run").required().existing_folder().type_name("DIR");
  sub.add_option("-o,--output", o->output, "the same lines, each citation with its stance and how probable that is").required().type_name("FILE");
  sub.add_option("--table", o->table, "who cites whom, and how often in each stance, as tab-separated columns").type_name("FILE");
  sub.add_option("--works", o->works, "the same for each cited work over all articles, most cited first").type_name("FILE");
  sub.add_option("--report", o->report, "an HTML page of the works that are cited most and most often in each stance").type_name("FILE");
  sub.add_option("--tokens", o->load.tokens, "tokens computed at a time: bounds memory, changes no result").type_name("N").show_default();
  sub.add_choice("--device", o->load.device.kind, {{"cpu", Device::Kind::cpu}, {"cuda", Device::Kind::cuda}}, "where to compute");
  sub.add_flag("--skip-bad", o->skip_bad, "leave out lines that are none of `triax cite extract`, and count them");
  sub.add_flag("--force", o->force, "replace what is there");
  sub.keep_options_apart();
  sub.callback([o] { tell_stances(*o); });
}

}  // namespace triax::cli
