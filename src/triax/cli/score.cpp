#include <fmt/core.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "triax/base/error.h"
#include "triax/base/json.h"
#include "triax/base/log.h"
#include "triax/cli/commands.h"
#include "triax/tasks/class_score.h"
#include "triax/tasks/conll.h"
#include "triax/tasks/entity_score.h"
#include "triax/tasks/labels_file.h"
#include "triax/tasks/records.h"
#include "triax/tasks/relation.h"
#include "triax/tasks/squad_score.h"

namespace triax::cli {
namespace {

using namespace tasks;

struct ScoreFlags {
  std::string predictions, gold, no_answer, label = "label", prediction = "prediction", id, text = "text";
  std::vector<std::string> negative;
  double threshold = 1.0;
  bool skip_bad = false, json = false, chemprot = false;
};

tasks::ReadOptions reading(const ScoreFlags& o) { return {.skip_bad = o.skip_bad}; }

// The text for people, or the numbers for programs.
void show(const ScoreFlags& o, const std::string& text, const Json& numbers) {
  fmt::print("{}", o.json ? numbers.dump(2) + "\n" : text);
}

Json json_of(const Counts& c) {
  return {{"precision", 100 * c.precision()}, {"recall", 100 * c.recall()}, {"f1", 100 * c.f1()},
          {"gold", c.gold}, {"found", c.found}, {"correct", c.correct}};
}

void score_ner(const ScoreFlags& o) {
  // Leaving out a sentence of one file only would shift all others.
  const ConllFile gold = read_conll(o.gold), found = read_conll(o.predictions);
  check(gold.sentences.size() == found.sentences.size(), "{} has {} sentences, and {} has {}", o.gold, gold.sentences.size(),
        o.predictions, found.sentences.size());
  EntityScore score;
  for (size_t i = 0; i < gold.sentences.size(); ++i) {
    const TaggedSentence &right = gold.sentences[i], &guess = found.sentences[i];
    check(right.words == guess.words, "{} and {} are not the same sentence", place(o.gold, right.line), place(o.predictions, guess.line));
    score.add(right.tags, guess.tags);
  }
  Json types = Json::object();
  for (const auto& [type, counts] : score.by_type()) types[type] = json_of(counts);
  show(o, score.report(), {{"accuracy", 100 * score.accuracy()}, {"overall", json_of(score.total())}, {"types", types}});
}

QuestionFile read_gold_questions(const ScoreFlags& o) {
  QuestionFile gold = read_squad(o.gold, reading(o));
  warn_left_out(gold.bad, o.gold);
  return gold;
}

std::string squad_text(const SquadScore& score) {
  std::string text = fmt::format("exact match   {:.3f}\nF1            {:.3f}\nquestions     {}\n", score.exact, score.f1, score.total);
  const auto part = [&](const char* name, const std::optional<SquadScore::Part>& p) {
    if (p) text += fmt::format("{}  exact {:.3f}, F1 {:.3f}, of {}\n", name, p->exact, p->f1, p->total);
  };
  part("with answer ", score.has_answer);
  part("no answer   ", score.no_answer);
  if (score.best)
    text += fmt::format("best exact    {:.3f} at threshold {}\nbest F1       {:.3f} at threshold {}\n", score.best->exact,
                        score.best->exact_threshold, score.best->f1, score.best->f1_threshold);
  return text;
}

Json squad_json(const SquadScore& score) {
  Json json = {{"exact", score.exact}, {"f1", score.f1}, {"total", score.total}, {"unanswered", score.unanswered.size()}};
  const auto part = [&](const std::string& name, const std::optional<SquadScore::Part>& p) {
    if (p) json[name + "_exact"] = p->exact, json[name + "_f1"] = p->f1, json[name + "_total"] = p->total;
  };
  part("HasAns", score.has_answer);
  part("NoAns", score.no_answer);
  if (score.best)
    json.update({{"best_exact", score.best->exact}, {"best_exact_thresh", score.best->exact_threshold},
                 {"best_f1", score.best->f1}, {"best_f1_thresh", score.best->f1_threshold}});
  return json;
}

void score_squad(const ScoreFlags& o, bool version2) {
  const QuestionFile gold = read_gold_questions(o);
  const auto predictions = read_predictions(o.predictions);
  std::optional<NoAnswerScores> scores;
  if (!o.no_answer.empty()) scores = read_no_answer_scores(o.no_answer);
  const SquadScore score = version2 ? score_squad2(gold, predictions, scores ? &*scores : nullptr, o.threshold) : score_squad1(gold, predictions);
  if (!score.unanswered.empty())
    log_warning("{} questions have no prediction, {} the first; they {}", score.unanswered.size(), score.unanswered.front(),
                version2 ? "are not counted" : "count as wrong");
  show(o, squad_text(score), squad_json(score));
}

void score_bioasq(const ScoreFlags& o) {
  const FactoidFile gold = read_bioasq(o.gold, reading(o));
  warn_left_out(gold.bad, o.gold);
  const FactoidScore score = score_factoid(gold, read_factoid_predictions(o.predictions));
  show(o, fmt::format("strict accuracy   {:.2f}%\nlenient accuracy  {:.2f}%\nMRR               {:.2f}%\nquestions         {}\n",
                      100 * score.strict, 100 * score.lenient, 100 * score.mrr, score.total),
       {{"strict", 100 * score.strict}, {"lenient", 100 * score.lenient}, {"mrr", 100 * score.mrr}, {"total", score.total}});
}

CaseFile read_gold_cases(const ScoreFlags& o, bool numbers) {
  CaseOptions options;
  options.skip_bad = o.skip_bad;
  options.fields.text = o.text, options.fields.label = o.label, options.fields.id = o.id;
  options.need_number = numbers;
  CaseFile gold = read_cases(o.gold, options);
  warn_left_out(gold.bad, o.gold);
  return gold;
}

// The prediction for each case: by id where ids are asked for, else in the same order.
std::vector<std::string> matched(const ScoreFlags& o, const CaseFile& gold) {
  const auto labels = read_labels(o.predictions, o.prediction, o.id.empty() ? "id" : o.id);
  std::vector<std::string> result;
  if (o.id.empty()) {
    check(labels.size() == gold.cases.size(), "{} has {} labels for the {} cases of {}", o.predictions, labels.size(), gold.cases.size(), o.gold);
    for (const PredictedLabel& label : labels) result.push_back(label.label);
    return result;
  }
  std::map<std::string, std::string> by_id;
  for (const PredictedLabel& label : labels) by_id[label.id] = label.label;
  for (const TextCase& c : gold.cases) {
    const auto found = by_id.find(c.id);
    check(found != by_id.end(), "{} has no prediction for \"{}\" of {}", o.predictions, c.id, place(o.gold, c.line));
    result.push_back(found->second);
  }
  return result;
}

void score_classes(const ScoreFlags& o) {
  const CaseFile gold = read_gold_cases(o, false);
  auto found = matched(o, gold);
  const auto name = [&](const std::string& label) { return o.chemprot ? chemprot_group(label) : label; };
  std::set<std::string> names(o.negative.begin(), o.negative.end());
  for (const TextCase& c : gold.cases) names.insert(name(c.label));
  for (std::string& label : found) names.insert(label = name(label));
  ConfusionMatrix matrix(LabelSet({names.begin(), names.end()}));
  for (size_t i = 0; i < found.size(); ++i) matrix.add(name(gold.cases[i].label), found[i]);
  const Counts micro = matrix.micro(o.negative);
  std::string text = fmt::format("accuracy     {:.2f}%\nmacro F1     {:.2f}%\nmicro        precision {:.2f}%, recall {:.2f}%, F1 {:.2f}%{}\n",
                                 100 * matrix.accuracy(), 100 * matrix.macro_f1(), 100 * micro.precision(), 100 * micro.recall(),
                                 100 * micro.f1(), o.negative.empty() ? "" : " (of the positive classes)");
  text += fmt::format("Matthews     {:.4f}\ncases        {}\n\n{}", matrix.matthews(), matrix.total(), matrix.report());
  show(o, text, {{"accuracy", 100 * matrix.accuracy()}, {"macro_f1", 100 * matrix.macro_f1()}, {"micro", json_of(micro)},
                 {"matthews", matrix.matthews()}, {"total", matrix.total()}});
}

void score_numbers(const ScoreFlags& o) {
  const CaseFile gold = read_gold_cases(o, true);
  const auto found = matched(o, gold);
  std::vector<double> x, y;
  double squares = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    char* end = nullptr;
    x.push_back(std::strtod(gold.cases[i].label.c_str(), nullptr));
    y.push_back(std::strtod(found[i].c_str(), &end));
    check(end != found[i].c_str() && *end == '\0', "{}: \"{}\" is not a number", o.predictions, excerpt(found[i]));
    squares += (x.back() - y.back()) * (x.back() - y.back());
  }
  const double p = pearson(x, y), s = spearman(x, y), mse = squares / static_cast<double>(x.size());
  show(o, fmt::format("Pearson             {:.4f}\nSpearman            {:.4f}\nmean squared error  {:.6g}\ncases               {}\n", p, s, mse, x.size()),
       {{"pearson", p}, {"spearman", s}, {"mse", mse}, {"total", x.size()}});
}

Command add_task(Command command, const std::shared_ptr<ScoreFlags>& o, const char* name, const char* what,
                   const char* predictions, const char* gold, void (*run)(const ScoreFlags&)) {
  Command sub = command.add_subcommand(name, what);
  sub.add_option("predictions", o->predictions, predictions).required().existing_file().type_name("FILE");
  sub.add_option("gold", o->gold, gold).required().existing_file().type_name("FILE");
  sub.add_flag("--json", o->json, "the numbers as JSON");
  sub.keep_options_apart();
  sub.callback([o, run] { run(*o); });
  return sub;
}

void add_skip_bad(Command sub, const std::shared_ptr<ScoreFlags>& o) {
  sub.add_flag("--skip-bad", o->skip_bad, "leave out bad records of the gold file, and count them");
}

void add_fields(Command sub, const std::shared_ptr<ScoreFlags>& o) {
  add_skip_bad(sub, o);
  sub.add_option("--label", o->label, "field or column of the gold file's label").type_name("NAME").show_default();
  sub.add_option("--text", o->text, "field or column of its text").type_name("NAME").show_default();
  sub.add_option("--prediction", o->prediction, "field of the predictions, where they are JSON lines").type_name("NAME").show_default();
  sub.add_option("--id", o->id, "field of both that tells which belongs to which; without it the order does").type_name("NAME");
}

}  // namespace

void add_score_command(Command app) {
  Command command = app.add_subcommand("score", "Score predictions of a task as its official scorer does");
  auto o = std::make_shared<ScoreFlags>();
  add_task(command, o, "ner", "Precision, recall and F1 of named entities (conlleval)", "words and predicted tags, as the gold file",
           "words and tags: word TAB tag, a blank line between sentences", score_ner);
  const char* answers = "{\"question id\": \"answer\", ...}";
  add_skip_bad(add_task(command, o, "squad", "Exact match and F1 of answers (SQuAD 1.1)", answers, "SQuAD JSON",
                        [](const ScoreFlags& options) { score_squad(options, false); }), o);
  Command sub = add_task(command, o, "squad2", "The same where questions may have no answer (SQuAD 2.0)", answers, "SQuAD JSON",
                           [](const ScoreFlags& options) { score_squad(options, true); });
  add_skip_bad(sub, o);
  sub.add_option("--no-answer", o->no_answer, "{\"question id\": score of \"no answer\", ...}: finds the best thresholds").existing_file().type_name("FILE");
  sub.add_option("--threshold", o->threshold, "above this score, an answer counts as none").type_name("X").show_default();
  add_skip_bad(add_task(command, o, "bioasq", "Strict and lenient accuracy and MRR of factoid answers (BioASQ)", "BioASQ JSON, or {\"id\": [\"first\", \"second\"], ...}",
                        "BioASQ JSON", score_bioasq), o);
  sub = add_task(command, o, "classify", "Accuracy, F1 and Matthews correlation of classes", "a label a line, or JSON lines",
                 "JSON lines or tab-separated columns", score_classes);
  add_fields(sub, o);
  sub.add_option("--negative", o->negative, "class that the micro F1 leaves out; may be said again").type_name("LABEL");
  sub.add_flag("--chemprot", o->chemprot, "score ChemProt's relation types by its groups CPR:3 to CPR:9; all others are \"false\"");
  sub = add_task(command, o, "regress", "Pearson and Spearman correlation of numbers", "a number a line, or JSON lines",
                 "JSON lines or tab-separated columns", score_numbers);
  add_fields(sub, o);
  command.require_subcommand();
  command.footer(
      "Examples:\n"
      "  triax score ner predicted.tsv test.tsv\n"
      "  triax score squad predictions.json dev-v1.1.json\n"
      "  triax score squad2 predictions.json dev-v2.0.json --no-answer null_odds.json --threshold -1.5\n"
      "  triax score classify predicted.jsonl test.jsonl --negative false");
}

}  // namespace triax::cli
