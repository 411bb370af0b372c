#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "triax/base/error.h"
#include "triax/base/json.h"
#include "triax/finetune/task.h"
#include "triax/tasks/span_select.h"
#include "triax/tasks/squad_score.h"
#include "triax/text/model_input.h"

namespace triax::finetune {
namespace {

using namespace tasks;

struct QaSet : TaskSet {
  QuestionFile file;
  std::optional<FactoidFile> factoid;
  std::vector<size_t> first_example;  // of each question, and one past the last
  std::vector<std::vector<ByteRange>> places;  // of each example's tokens, in the context; begin < 0 outside
  std::vector<std::vector<uint8_t>> best_here;
};

class QaTask : public Task {
 public:
  QaTask(const TaskOptions& options, const Tokenizer& tokenizer) : options_(options), tokenizer_(tokenizer) {}

  BertHeadConfig head() const override {
    return {.head = BertHead::spans, .num_labels = 2, .hidden_size = options_.model.head_hidden_size, .dropout = options_.model.head_dropout};
  }
  const std::vector<std::string>& labels() const override { return none_; }

  std::unique_ptr<TaskSet> parse(const std::string& text, const std::filesystem::path& path, bool labelled) const override {
    auto set = std::make_unique<QaSet>();
    const tasks::ReadOptions reading{.skip_bad = options_.data.skip_bad};
    if (!labelled && is_lines(text)) {
      set->file = parse_lines(text, path, reading);
    } else if (text.find("\"questions\"") != std::string::npos && text.find("\"paragraphs\"") == std::string::npos) {
      set->factoid = parse_bioasq(text, path, reading);
      set->file = as_questions(*set->factoid);
      set->file.bad = set->factoid->bad;
    } else {
      set->file = parse_squad(text, path, reading);
    }
    set->bad = set->file.bad;
    if (set->file.moved + set->file.lost > 0)
      set->notes.push_back(fmt::format("{}: {} answers stood where the file says, {} elsewhere in their context, {} nowhere", path.string(), set->file.placed,
                                       set->file.moved, set->file.lost));
    for (const std::string& example : set->file.lost_examples) set->notes.push_back(example);
    for (size_t q = 0; q < set->file.questions.size(); ++q) add(static_cast<int64_t>(q), labelled, *set);
    set->first_example.push_back(set->examples.size());
    set->records = static_cast<int64_t>(set->file.questions.size());
    return set;
  }

  Score score(const TaskSet& base, const std::vector<Logits>& logits) const override {
    const auto& set = static_cast<const QaSet&>(base);
    return set.factoid ? score_bioasq(set, logits) : score_squad(set, logits);
  }

  std::string predictions(const TaskSet& base, const std::vector<Logits>& logits) const override {
    const auto& set = static_cast<const QaSet&>(base);
    std::string out;
    for (size_t q = 0; q < set.file.questions.size(); ++q) {
      const SpanChoice choice = choose(set, q, logits);
      Json answers = Json::array();
      for (const SpanAnswer& a : choice.answers)
        answers.push_back({{"text", a.text}, {"begin", a.place.begin}, {"end", a.place.end}, {"probability", a.probability}, {"score", a.score}});
      out += Json{{"id", set.file.questions[q].id}, {"question", set.file.questions[q].text}, {"prediction", answer_of(choice)},
                  {"no_answer_score", choice.null_difference}, {"answers", answers}}.dump() + "\n";
    }
    return out;
  }

  std::pair<std::string, std::string> official_predictions(const TaskSet& base, const std::vector<Logits>& logits) const override {
    const auto& set = static_cast<const QaSet&>(base);
    if (set.factoid) return {"predictions.json", factoid_predictions_json(*set.factoid, candidates(set, logits))};
    Json json = Json::object();
    for (size_t q = 0; q < set.file.questions.size(); ++q) json[set.file.questions[q].id] = answer_of(choose(set, q, logits));
    return {"predictions.json", json.dump(1) + "\n"};
  }

 private:
  // JSON lines: the first line alone is an object with a question.
  static bool is_lines(const std::string& text) {
    const Json first = Json::parse_or_null(text.substr(0, text.find('\n')));
    return first.is_object() && first.contains("question") && first.contains("context");
  }

  static QuestionFile parse_lines(const std::string& text, const std::filesystem::path& path, const tasks::ReadOptions& reading) {
    QuestionFile file;
    for_each_line(text, [&](std::string_view line, uint64_t number) {
      if (line.find_first_not_of(" \t") == std::string_view::npos) return;
      const Json json = Json::parse_or_null(line);
      const auto has = [&](const char* key) { return json.is_object() && json.contains(key) && json[key].is_text(); };
      if (!has("question") || !has("context"))
        return refuse(reading, file.bad, fmt::format("{}: there is no text \"question\" or no text \"context\"", place(path, number)));
      file.contexts.push_back(json["context"].text());
      file.questions.push_back({has("id") ? json["id"].text() : std::to_string(number), json["question"].text(), "", file.contexts.size() - 1, {}, false});
    });
    return file;
  }

  std::string answer_of(const SpanChoice& choice) const { return options_.task.no_answer ? choice.best(0.0) : choice.best(); }

  void add(int64_t index, bool labelled, QaSet& set) const {
    const Question& q = set.file.questions[static_cast<size_t>(index)];
    set.first_example.push_back(set.examples.size());
    auto windows = encode_inputs(tokenizer_, q.text, set.file.context_of(q),
                                 {.max_length = options_.data.max_length, .cut = Cut::second, .windows = true, .stride = options_.data.stride});
    const std::optional<ByteRange> answer = labelled ? place_of_answer(q) : std::nullopt;
    for (ModelInput& w : windows) {
      Example e;
      e.record = index;
      e.ids = std::move(w.ids);
      e.types = std::move(w.types);
      std::vector<ByteRange> places(w.offsets.size(), ByteRange{-1, -1});
      for (size_t i = 0; i < places.size(); ++i)
        if (w.segments[i] == 1) places[i] = w.offsets[i];
      if (answer) std::tie(e.start, e.end) = tokens_of(*answer, places);
      set.examples.push_back(std::move(e));
      set.places.push_back(std::move(places));
    }
    mark_best(set, set.first_example.back());
  }

  static std::optional<ByteRange> place_of_answer(const Question& q) {
    for (const Answer& answer : q.answers)
      if (answer.place) return answer.place;
    return std::nullopt;
  }

  // The tokens that hold the answer, or [CLS] twice where the window does not have it all.
  static std::pair<int32_t, int32_t> tokens_of(const ByteRange& answer, const std::vector<ByteRange>& places) {
    int32_t first = -1, last = -1, begins = -1, ends = -1;
    for (size_t i = 0; i < places.size(); ++i) {
      if (places[i].begin < 0) continue;
      const auto token = static_cast<int32_t>(i);
      if (begins < 0) begins = token;
      ends = token;
      if (first < 0 && places[i].end > answer.begin) first = token;
      if (places[i].begin < answer.end) last = token;
    }
    const bool inside = begins >= 0 && first >= 0 && last >= first && places[static_cast<size_t>(begins)].begin <= answer.begin &&
                        places[static_cast<size_t>(ends)].end >= answer.end;
    return inside ? std::pair(first, last) : std::pair(0, 0);
  }

  // For each token of the context the window that sees most around it.
  static void mark_best(QaSet& set, size_t first) {
    std::map<std::pair<int64_t, int64_t>, std::pair<double, size_t>> best;
    const auto each_token = [&](auto&& body) {
      for (size_t w = first; w < set.examples.size(); ++w) {
        const auto& places = set.places[w];
        const auto inside = [](const ByteRange& p) { return p.begin >= 0; };
        const auto begin = std::find_if(places.begin(), places.end(), inside) - places.begin();
        const auto end = places.size() - static_cast<size_t>(std::find_if(places.rbegin(), places.rend(), inside) - places.rbegin());
        for (size_t i = static_cast<size_t>(begin); i < end; ++i) body(w, i, static_cast<int64_t>(i) - begin, static_cast<int64_t>(end - 1 - i), end);
      }
    };
    each_token([&](size_t w, size_t i, int64_t left, int64_t right, size_t end) {
      const double score = static_cast<double>(std::min(left, right)) + 0.01 * static_cast<double>(end);
      const auto key = std::pair(set.places[w][i].begin, set.places[w][i].end);
      const auto [at, is_new] = best.try_emplace(key, score, w);
      if (!is_new && score > at->second.first) at->second = {score, w};
    });
    set.best_here.resize(set.examples.size());
    for (size_t w = first; w < set.examples.size(); ++w) set.best_here[w].assign(set.places[w].size(), 0);
    each_token([&](size_t w, size_t i, int64_t, int64_t, size_t) {
      set.best_here[w][i] = best.at({set.places[w][i].begin, set.places[w][i].end}).second == w;
    });
  }

  SpanChoice choose(const QaSet& set, size_t question, const std::vector<Logits>& logits) const {
    std::vector<ScoredWindow> windows;
    for (size_t w = set.first_example[question]; w < set.first_example[question + 1]; ++w) {
      ScoredWindow scored;
      for (size_t i = 0; i < logits[w].size(); i += 2) scored.start.push_back(logits[w][i]), scored.end.push_back(logits[w][i + 1]);
      scored.places = set.places[w];
      scored.best_here = set.best_here[w];
      windows.push_back(std::move(scored));
    }
    return choose_spans(set.file.context_of(set.file.questions[question]), windows,
                        {.n_best = options_.task.n_best, .max_answer_tokens = options_.task.max_answer_tokens});
  }

  Score score_squad(const QaSet& set, const std::vector<Logits>& logits) const {
    Predictions predictions;
    NoAnswerScores no_answer;
    Score score;
    for (size_t q = 0; q < set.file.questions.size(); ++q) {
      const Question& question = set.file.questions[q];
      const SpanChoice choice = choose(set, q, logits);
      predictions.emplace_back(question.id, options_.task.no_answer ? choice.best() : answer_of(choice));
      no_answer.emplace_back(question.id, choice.null_difference);
      const std::string answer = answer_of(choice);
      double f1 = question.answers.empty() && answer.empty() ? 1 : 0;
      for (const Answer& gold : question.answers) f1 = std::max(f1, answer_f1(gold.text, answer, options_.task.no_answer));
      if (f1 < 0.5)
        score.mistakes.push_back({question.id, question.text + " | " + set.file.context_of(question), question.answers.empty() ? "(no answer)" : question.answers[0].text,
                                  answer.empty() ? "(no answer)" : answer, choice.answers.empty() ? 0 : choice.answers[0].probability});
    }
    const SquadScore result = options_.task.no_answer ? score_squad2(set.file, predictions, &no_answer, 0.0) : score_squad1(set.file, predictions);
    score.metric = "F1";
    score.value = result.f1;
    score.numbers = {{"exact match", result.exact}, {"F1", result.f1}};
    if (result.has_answer) score.numbers.emplace_back("F1 with answer", result.has_answer->f1);
    if (result.no_answer) score.numbers.emplace_back("F1 without answer", result.no_answer->f1);
    if (result.best) score.numbers.emplace_back("best F1", result.best->f1), score.numbers.emplace_back("best threshold", result.best->f1_threshold);
    score.table = fmt::format("exact match {:.2f}, F1 {:.2f}, of {} questions\n", result.exact, result.f1, result.total);
    return score;
  }

  // The answers of a question's snippets together, each text with its best probability.
  std::map<std::string, std::vector<std::string>> candidates(const QaSet& set, const std::vector<Logits>& logits) const {
    std::map<std::string, std::map<std::string, double>> scores;
    for (size_t q = 0; q < set.file.questions.size(); ++q) {
      const std::string& id = set.file.questions[q].id;
      auto& found = scores[id.substr(0, id.rfind('_'))];
      for (const SpanAnswer& a : choose(set, q, logits).answers) found[a.text] = std::max(found[a.text], a.probability);
    }
    std::map<std::string, std::vector<std::string>> result;
    for (const auto& [id, texts] : scores) {
      std::vector<std::pair<std::string, double>> sorted(texts.begin(), texts.end());
      std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
      for (const auto& [text, p] : sorted) result[id].push_back(text);
    }
    return result;
  }

  Score score_bioasq(const QaSet& set, const std::vector<Logits>& logits) const {
    const FactoidScore result = score_factoid(*set.factoid, candidates(set, logits));
    Score score;
    score.metric = "MRR";
    score.value = 100 * result.mrr;
    score.numbers = {{"strict accuracy", 100 * result.strict}, {"lenient accuracy", 100 * result.lenient}, {"MRR", 100 * result.mrr}};
    score.table = fmt::format("strict {:.2f}, lenient {:.2f}, MRR {:.2f}, of {} questions\n", 100 * result.strict, 100 * result.lenient, 100 * result.mrr, result.total);
    return score;
  }

  TaskOptions options_;
  const Tokenizer& tokenizer_;
  std::vector<std::string> none_;
};

}  // namespace

std::unique_ptr<Task> make_qa_task(const TaskOptions& options, const Tokenizer& tokenizer) { return std::make_unique<QaTask>(options, tokenizer); }

}  // namespace triax::finetune
