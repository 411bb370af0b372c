#include <fmt/core.h>

#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/json.h"
#include "triax/finetune/task.h"
#include "triax/tasks/conll.h"
#include "triax/tasks/entity_score.h"
#include "triax/tasks/records.h"

namespace triax::finetune {
namespace {

using namespace tasks;

struct NerSet : TaskSet {
  ConllFile file;
  std::vector<SubtokenSentence> sentences;
  std::vector<std::vector<TokenWindow>> windows;  // of each sentence
  std::vector<size_t> first_example;              // of each sentence
};

// O, and B- and I- (and E-, S-) of each type.
std::vector<std::string> labels_of(const ConllFile& file) {
  std::vector<std::string> labels = {"O"};
  for (const std::string& type : file.types)
    for (const char* prefix : {"B", "I", "E", "S"}) {
      if ((*prefix == 'E' || *prefix == 'S') && file.scheme != TagScheme::iobes) continue;
      labels.push_back(type.empty() ? prefix : std::string(prefix) + "-" + type);
    }
  return labels;
}

class NerTask : public Task {
 public:
  NerTask(const TaskOptions& options, const Tokenizer& tokenizer, std::vector<std::string> labels) : options_(options), tokenizer_(tokenizer) {
    if (labels.empty()) labels = labels_of(read_conll(options.data.train, {.skip_bad = options.data.skip_bad}));
    const bool iobes = std::any_of(labels.begin(), labels.end(), [](const std::string& l) { return l[0] == 'E' || l[0] == 'S'; });
    scheme_ = iobes ? TagScheme::iobes : TagScheme::iob2;
    labels_ = LabelSet(std::move(labels));
    check(tokenizer.special_tokens().cls && tokenizer.special_tokens().sep, "the vocabulary has no [CLS] or no [SEP], which BERT needs");
  }

  BertHeadConfig head() const override {
    return {.head = BertHead::tokens, .num_labels = labels_.size(), .hidden_size = options_.model.head_hidden_size, .dropout = options_.model.head_dropout};
  }
  const std::vector<std::string>& labels() const override { return labels_.names(); }

  std::unique_ptr<TaskSet> parse(const std::string& text, const std::filesystem::path& path, bool labelled) const override {
    auto set = std::make_unique<NerSet>();
    const tasks::ReadOptions reading{.skip_bad = options_.data.skip_bad};
    set->file = labelled ? parse_conll(text, path, reading) : parse_words(text, path, reading);
    set->bad = set->file.bad;
    if (labelled) remove_unknown(set->file, path, reading, set->bad);
    for (const TaggedSentence& sentence : set->file.sentences) add(sentence, labelled, *set);
    set->records = static_cast<int64_t>(set->file.sentences.size());
    return set;
  }

  Score score(const TaskSet& base, const std::vector<Logits>& logits) const override {
    const auto& set = static_cast<const NerSet&>(base);
    EntityScore entities;
    Score score;
    for (size_t s = 0; s < set.sentences.size(); ++s) {
      const TaggedSentence& gold = set.file.sentences[s];
      double confidence = 0;
      const auto found = tags(set, s, logits, &confidence);
      const auto right = convert_tags(gold.tags, scheme_);
      entities.add(right, found);
      if (found != right) score.mistakes.push_back({fmt::format("line {}", gold.line), marked(gold.words, {}), marked(gold.words, right), marked(gold.words, found), confidence});
    }
    const Counts all = entities.total();
    score.metric = "F1";
    score.value = 100 * all.f1();
    score.numbers = {{"precision", 100 * all.precision()}, {"recall", 100 * all.recall()}, {"F1", score.value}, {"word accuracy", 100 * entities.accuracy()}};
    for (const auto& [type, counts] : entities.by_type()) score.numbers.emplace_back("F1 of " + type, 100 * counts.f1());
    score.table = entities.report();
    return score;
  }

  std::string predictions(const TaskSet& base, const std::vector<Logits>& logits) const override {
    const auto& set = static_cast<const NerSet&>(base);
    std::string out;
    for (size_t s = 0; s < set.sentences.size(); ++s) {
      const auto found = tags(set, s, logits, nullptr);
      const auto& words = set.file.sentences[s].words;
      Json entities = Json::array();
      for (const Entity& e : entities_of(found)) {
        std::string text;
        for (int64_t i = e.begin; i < e.end; ++i) text += (i > e.begin ? " " : "") + words[static_cast<size_t>(i)];
        entities.push_back({{"type", e.type}, {"begin", e.begin}, {"end", e.end}, {"text", text}});
      }
      out += Json{{"line", set.file.sentences[s].line}, {"words", words}, {"tags", found}, {"entities", entities}}.dump() + "\n";
    }
    return out;
  }

  std::pair<std::string, std::string> official_predictions(const TaskSet& base, const std::vector<Logits>& logits) const override {
    const auto& set = static_cast<const NerSet&>(base);
    std::string out;
    for (size_t s = 0; s < set.sentences.size(); ++s) {
      const auto found = tags(set, s, logits, nullptr);
      for (size_t w = 0; w < found.size(); ++w) out += set.file.sentences[s].words[w] + "\t" + found[w] + "\n";
      out += "\n";
    }
    return {"predictions.tsv", out};
  }

 private:
  // Input without tags: one word a line (more columns are passed over), or a JSON line with "text" or "words".
  static ConllFile parse_words(const std::string& text, const std::filesystem::path& path, const tasks::ReadOptions& reading) {
    const size_t first = text.find_first_not_of(" \t\r\n");
    check(first != std::string::npos, "{}: there is nothing in it", path.string());
    std::string lines;
    BadRecords bad;
    if (text[first] != '{') {
      for_each_line(text, [&](std::string_view line, uint64_t) {
        const size_t end = line.find_first_of(" \t");
        const std::string_view word = line.substr(0, end);
        lines += word.empty() ? "\n" : std::string(word) + "\tO\n";
      });
      return parse_conll(lines, path, reading);
    }
    std::vector<uint64_t> places;
    for_each_line(text, [&](std::string_view line, uint64_t number) {
      if (line.find_first_not_of(" \t") == std::string_view::npos) return;
      const auto json = Json::parse_or_null(line);
      std::vector<std::string> words;
      if (json.is_object() && json.contains("words") && json["words"].is_array()) {
        for (const auto& word : json["words"])
          if (word.is_text()) words.push_back(word.text());
      } else if (json.is_object() && json.contains("text") && json["text"].is_text()) {
        words = words_of(json["text"].text());
      }
      if (words.empty()) return refuse(reading, bad, fmt::format("{}: there is neither a list \"words\" nor a text \"text\"", place(path, number)));
      for (const std::string& word : words) lines += word + "\tO\n";
      lines += "\n";
      places.push_back(number);
    });
    ConllFile file = parse_conll(lines, path, reading);
    for (size_t i = 0; i < file.sentences.size() && i < places.size(); ++i) file.sentences[i].line = places[i];
    file.bad.add(bad);
    return file;
  }

  // Words of plain text: letters and digits together, everything else alone, as CoNLL files have them.
  static std::vector<std::string> words_of(const std::string& text) {
    std::vector<std::string> words;
    bool open = false;
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      const bool inside = byte >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        open = false;
      } else if (inside && open) {
        words.back() += c;
      } else {
        words.emplace_back(1, c);
        open = inside;
      }
    }
    return words;
  }

  void remove_unknown(ConllFile& file, const std::filesystem::path& path, const tasks::ReadOptions& reading, BadRecords& bad) const {
    std::erase_if(file.sentences, [&](TaggedSentence& sentence) {
      const auto converted = convert_tags(sentence.tags, scheme_);
      for (const std::string& tag : converted)
        if (labels_.find(tag) < 0) {
          refuse(reading, bad, fmt::format("{}: the tag \"{}\" was not in the training file", place(path, sentence.line), tag));
          return true;
        }
      return false;
    });
  }

  void add(const TaggedSentence& sentence, bool labelled, NerSet& set) const {
    SubtokenSentence tokens = tokenize_words(tokenizer_, sentence.words);
    std::vector<int32_t> labels;
    if (labelled) labels = subtoken_labels(tokens, convert_tags(sentence.tags, scheme_), labels_, options_.task.subtokens);
    const int64_t room = options_.data.max_length - 2;
    auto windows = cut_windows(static_cast<int64_t>(tokens.ids.size()), room, std::min(options_.data.stride, room - 1), tokens.starts_word);
    set.first_example.push_back(set.examples.size());
    for (const TokenWindow& w : windows) {
      Example e;
      e.record = static_cast<int64_t>(set.sentences.size());
      e.ids.push_back(*tokenizer_.special_tokens().cls);
      e.ids.insert(e.ids.end(), tokens.ids.begin() + w.begin, tokens.ids.begin() + w.end);
      e.ids.push_back(*tokenizer_.special_tokens().sep);
      e.types.assign(e.ids.size(), 0);
      if (labelled) {
        e.labels.assign(e.ids.size(), kNoLabel);
        std::copy(labels.begin() + w.begin, labels.begin() + w.end, e.labels.begin() + 1);
      }
      set.examples.push_back(std::move(e));
    }
    set.windows.push_back(std::move(windows));
    set.sentences.push_back(std::move(tokens));
  }

  std::vector<std::string> tags(const NerSet& set, size_t s, const std::vector<Logits>& logits, double* confidence) const {
    const int64_t classes = labels_.size();
    std::vector<std::vector<int32_t>> predicted;
    double least = 1;
    for (size_t w = 0; w < set.windows[s].size(); ++w) {
      const Logits& x = logits[set.first_example[s] + w];
      std::vector<int32_t> best;
      for (int64_t row = 1; row + 1 < static_cast<int64_t>(x.size()) / classes; ++row) {
        const float* at = x.data() + row * classes;
        best.push_back(static_cast<int32_t>(std::max_element(at, at + classes) - at));
        if (confidence) least = std::min(least, softmax(at, classes)[static_cast<size_t>(best.back())]);
      }
      predicted.push_back(std::move(best));
    }
    if (confidence) *confidence = least;
    return word_tags(set.sentences[s], set.windows[s], predicted, labels_, scheme_);
  }

  // "the [aspirin Chemical] helps"
  static std::string marked(const std::vector<std::string>& words, const std::vector<std::string>& tags) {
    const auto entities = entities_of(tags);
    std::string out;
    for (size_t w = 0; w < words.size(); ++w) {
      if (w > 0) out += " ";
      for (const Entity& e : entities)
        if (e.begin == static_cast<int64_t>(w)) out += "[";
      out += words[w];
      for (const Entity& e : entities)
        if (e.end == static_cast<int64_t>(w) + 1) out += " " + e.type + "]";
    }
    return out;
  }

  TaskOptions options_;
  const Tokenizer& tokenizer_;
  LabelSet labels_;
  TagScheme scheme_ = TagScheme::iob2;
};

}  // namespace

std::unique_ptr<Task> make_ner_task(const TaskOptions& options, const Tokenizer& tokenizer, std::vector<std::string> labels) {
  return std::make_unique<NerTask>(options, tokenizer, std::move(labels));
}

}  // namespace triax::finetune
