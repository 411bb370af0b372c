#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>

#include "triax/base/error.h"
#include "triax/base/json.h"
#include "triax/finetune/task.h"
#include "triax/tasks/cases.h"
#include "triax/tasks/chemprot.h"
#include "triax/tasks/class_score.h"
#include "triax/tasks/relation.h"
#include "triax/text/model_input.h"

namespace triax::finetune {
namespace {

using namespace tasks;

struct CaseSet : TaskSet {
  CaseFile file;
  bool chemprot = false;  // of BioCreative's files
};

class ClassifyTask : public Task {
 public:
  ClassifyTask(const TaskOptions& options, const Tokenizer& tokenizer, std::vector<std::string> labels) : options_(options), tokenizer_(tokenizer) {
    if (is_choice() || is_number()) return;
    if (labels.empty()) {
      const LabelSet found = LabelSet::of(parse_file(read_text(options.data.train), options.data.train, true).cases);
      labels = found.names();
    }
    check(labels.size() >= 2, "{}: {} classes cannot be told apart; at least 2 are needed", options.data.train, labels.size());
    labels_ = LabelSet(std::move(labels));
    if (options.kind == TaskKind::relation && options.task.negative.empty() && labels_.find("false") >= 0) options_.task.negative = {"false"};
    for (const std::string& name : options.task.negative)
      check(labels_.find(name) >= 0, "task.negative: \"{}\" is none of the classes {}", name, fmt::join(labels_.names(), ", "));
  }

  BertHeadConfig head() const override {
    return {.head = is_choice() ? BertHead::choice : BertHead::sequence,
            .num_labels = is_number() ? 1 : labels_.size(),
            .hidden_size = options_.model.head_hidden_size,
            .dropout = options_.model.head_dropout};
  }
  const std::vector<std::string>& labels() const override { return labels_.names(); }

  std::unique_ptr<TaskSet> parse(const std::string& text, const std::filesystem::path& path, bool labelled) const override {
    auto set = std::make_unique<CaseSet>();
    set->file = parse_file(text, path, labelled);
    set->chemprot = is_chemprot(path);
    if (set->file.out_of_reach > 0)
      set->notes.push_back(fmt::format("{}: {} relations are out of reach (not within one sentence, or of names within each other); they count as not found",
                                       path.string(), set->file.out_of_reach));
    if (labelled && !is_choice() && !is_number()) labels_.remove_unknown(set->file, path, {.skip_bad = options_.data.skip_bad});
    int64_t cut = 0;
    for (size_t i = 0; i < set->file.cases.size(); ++i) add(set->file.cases[i], static_cast<int64_t>(i), *set, cut);
    if (cut > 0) set->notes.push_back(fmt::format("{} texts of {} are longer than {} tokens and were cut", cut, set->file.cases.size(), options_.data.max_length));
    set->records = static_cast<int64_t>(set->file.cases.size());
    set->bad = set->file.bad;
    return set;
  }

  Score score(const TaskSet& base, const std::vector<Logits>& logits) const override {
    const auto& set = static_cast<const CaseSet&>(base);
    return is_number() ? score_numbers(set, logits) : is_choice() ? score_choices(set, logits) : score_classes(set, logits);
  }

  std::string predictions(const TaskSet& base, const std::vector<Logits>& logits) const override {
    const auto& set = static_cast<const CaseSet&>(base);
    std::string out;
    for_each_case(set, logits, [&](const TextCase& c, const std::vector<float>& x) {
      Json json = {{"id", c.id}, {"text", c.text}};
      if (!c.pair.empty()) json["pair"] = c.pair;
      if (is_number()) {
        json["prediction"] = x[0];
      } else {
        const auto p = softmax(x.data(), static_cast<int64_t>(x.size()));
        const auto best = static_cast<size_t>(std::max_element(p.begin(), p.end()) - p.begin());
        json["prediction"] = name_of(best);
        json["probability"] = p[best];
        if (!is_choice())
          for (size_t i = 0; i < p.size(); ++i) json["probabilities"][labels_.names()[i]] = p[i];
      }
      if (!c.label.empty()) json["label"] = c.label;
      out += json.dump() + "\n";
    });
    return out;
  }

  std::pair<std::string, std::string> official_predictions(const TaskSet& base, const std::vector<Logits>& logits) const override {
    const auto& set = static_cast<const CaseSet&>(base);
    if (set.chemprot) return {"predictions.tsv", chemprot_relations(set, logits)};
    std::string out = "index\tprediction\n";
    int64_t index = 0;
    for_each_case(set, logits, [&](const TextCase&, const std::vector<float>& x) {
      const auto best = static_cast<size_t>(std::max_element(x.begin(), x.end()) - x.begin());
      out += fmt::format("{}\t{}\n", index++, is_number() ? fmt::format("{}", x[0]) : name_of(best));
    });
    return {"predictions.tsv", out};
  }

 private:
  bool is_choice() const { return options_.kind == TaskKind::choice; }
  bool is_number() const { return options_.kind == TaskKind::regress; }
  bool is_chemprot(const std::filesystem::path& path) const { return options_.kind == TaskKind::relation && is_chemprot_abstracts(path); }
  std::string name_of(size_t best) const { return is_choice() ? std::to_string(best) : labels_.names()[best]; }

  CaseFile parse_file(const std::string& text, const std::filesystem::path& path, bool labelled) const {
    CaseOptions reading;
    reading.skip_bad = options_.data.skip_bad;
    reading.fields = {options_.data.text, options_.data.pair, labelled ? options_.data.label : "", options_.data.id, options_.data.choices};
    reading.need_label = labelled;
    reading.need_number = is_number();
    if (is_choice() && options_.data.choices.empty()) return parse_race(text, path, reading);
    CaseFile file = is_chemprot(path) ? parse_chemprot(text, path, reading) : parse_cases(text, path, reading);
    if (options_.kind == TaskKind::relation) check_marks(file, path, reading);
    if (options_.task.chemprot_groups && labelled)
      for (TextCase& c : file.cases) c.label = chemprot_group(c.label);
    return file;
  }

  void add(const TextCase& c, int64_t record, CaseSet& set, int64_t& cut) const {
    const InputOptions fit{.max_length = options_.data.max_length};
    const size_t count = std::max<size_t>(c.choices.size(), 1);
    for (size_t i = 0; i < count; ++i) {
      // A choice is read behind its question: (passage, question ending).
      std::optional<std::string> second;
      if (!c.choices.empty()) second = c.pair.empty() ? c.choices[i] : c.pair + " " + c.choices[i];
      else if (!c.pair.empty()) second = c.pair;
      std::vector<ModelInput> inputs = second ? encode_inputs(tokenizer_, c.text, *second, fit) : encode_inputs(tokenizer_, c.text, std::nullopt, fit);
      Example e;
      e.record = record;
      e.group = i == 0 ? static_cast<int64_t>(count) : 0;
      e.ids = std::move(inputs[0].ids);
      e.types = std::move(inputs[0].types);
      if (static_cast<int64_t>(e.ids.size()) == options_.data.max_length) ++cut;
      if (is_number()) e.value = c.label.empty() ? 0 : std::strtof(c.label.c_str(), nullptr);
      else if (is_choice()) e.labels = {c.label.empty() ? 0 : std::atoi(c.label.c_str())};
      else e.labels = {static_cast<int32_t>(std::max<int64_t>(labels_.find(c.label), 0))};
      set.examples.push_back(std::move(e));
    }
  }

  // Each case with its logits: of its choices, or classes.
  template <typename Body>
  void for_each_case(const CaseSet& set, const std::vector<Logits>& logits, Body&& body) const {
    for (size_t i = 0; i < set.examples.size();) {
      std::vector<float> x;
      const auto group = static_cast<size_t>(set.examples[i].group);
      for (size_t j = i; j < i + group; ++j) x.insert(x.end(), logits[j].begin(), logits[j].end());
      body(set.file.cases[static_cast<size_t>(set.examples[i].record)], x);
      i += group;
    }
  }

  std::string chemprot_relations(const CaseSet& set, const std::vector<Logits>& logits) const {
    std::string out;
    for_each_case(set, logits, [&](const TextCase& c, const std::vector<float>& x) {
      const std::string& label = labels_.names()[static_cast<size_t>(std::max_element(x.begin(), x.end()) - x.begin())];
      if (std::find(options_.task.negative.begin(), options_.task.negative.end(), label) == options_.task.negative.end()) out += chemprot_line(c.id, label);
    });
    return out;
  }

  Score score_classes(const CaseSet& set, const std::vector<Logits>& logits) const {
    ConfusionMatrix matrix(labels_);
    Score score;
    for_each_case(set, logits, [&](const TextCase& c, const std::vector<float>& x) {
      const auto p = softmax(x.data(), labels_.size());
      const auto best = std::max_element(p.begin(), p.end()) - p.begin();
      matrix.add(labels_.find(c.label), best);
      if (labels_[best] != c.label)
        score.mistakes.push_back({c.id, c.text + (c.pair.empty() ? "" : " | " + c.pair), c.label, labels_[best], p[static_cast<size_t>(best)]});
    });
    Counts micro = matrix.micro(options_.task.negative);
    micro.gold += set.file.out_of_reach;
    const bool relation = options_.kind == TaskKind::relation, stance = options_.kind == TaskKind::stance;
    score.metric = relation ? "micro F1" : stance ? "macro F1" : "accuracy";
    score.numbers = {{"accuracy", 100 * matrix.accuracy()}, {"macro F1", 100 * matrix.macro_f1()}, {"micro precision", 100 * micro.precision()},
                     {"micro recall", 100 * micro.recall()}, {"micro F1", 100 * micro.f1()}, {"Matthews", matrix.matthews()}};
    score.value = relation ? 100 * micro.f1() : 100 * (stance ? matrix.macro_f1() : matrix.accuracy());
    score.table = matrix.report();
    score.confusion = matrix;
    return score;
  }

  Score score_choices(const CaseSet& set, const std::vector<Logits>& logits) const {
    Score score;
    int64_t right = 0, total = 0;
    for_each_case(set, logits, [&](const TextCase& c, const std::vector<float>& x) {
      const auto p = softmax(x.data(), static_cast<int64_t>(x.size()));
      const auto best = std::max_element(p.begin(), p.end()) - p.begin();
      ++total;
      if (std::to_string(best) == c.label) ++right;
      else score.mistakes.push_back({c.id, c.text + " | " + c.pair, c.label, std::to_string(best), p[static_cast<size_t>(best)]});
    });
    score.metric = "accuracy";
    score.value = total > 0 ? 100.0 * static_cast<double>(right) / static_cast<double>(total) : 0;
    score.numbers = {{"accuracy", score.value}};
    score.table = fmt::format("{} of {} right\n", right, total);
    return score;
  }

  Score score_numbers(const CaseSet& set, const std::vector<Logits>& logits) const {
    Score score;
    std::vector<double> x, y;
    for_each_case(set, logits, [&](const TextCase& c, const std::vector<float>& out) {
      x.push_back(std::strtod(c.label.c_str(), nullptr));
      y.push_back(out[0]);
      score.mistakes.push_back({c.id, c.text + (c.pair.empty() ? "" : " | " + c.pair), c.label, fmt::format("{:.3f}", y.back()), std::abs(x.back() - y.back())});
    });
    const double p = pearson(x, y), s = spearman(x, y);
    score.metric = "Pearson";
    score.value = p;
    score.numbers = {{"Pearson", p}, {"Spearman", s}};
    score.table = fmt::format("Pearson {:.4f}, Spearman {:.4f}, of {} cases\n", p, s, x.size());
    return score;
  }

  TaskOptions options_;
  const Tokenizer& tokenizer_;
  LabelSet labels_;
};

}  // namespace

std::unique_ptr<Task> make_classify_task(const TaskOptions& options, const Tokenizer& tokenizer, std::vector<std::string> labels) {
  return std::make_unique<ClassifyTask>(options, tokenizer, std::move(labels));
}

}  // namespace triax::finetune
