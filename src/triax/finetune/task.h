// A task between files and the model: records become sequences of tokens with targets; what the model says
// of them becomes answers and scores.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "triax/finetune/config.h"
#include "triax/models/bert_head.h"
#include "triax/tasks/class_score.h"
#include "triax/tasks/records.h"

namespace triax::finetune {

// One sequence for the model, [CLS] and [SEP] included.
struct Example {
  std::vector<int32_t> ids, types;
  std::vector<int32_t> labels;  // tokens: one a token, -1 for none; sequence: one; choice: one, on the first of a group
  float value = 0;              // regression
  int32_t start = 0, end = 0;   // spans: tokens of the answer; 0 is [CLS], which says there is none
  int64_t record = 0;           // of the set
  int64_t group = 1;            // sequences that belong together, this one the first; 0 for the others of a group
};

// A record the model got wrong, for the report.
struct Mistake {
  std::string id, text, gold, predicted;
  double confidence = 0;  // in what it said
};

struct Score {
  std::string metric;  // the number that chooses the best checkpoint
  double value = 0;    // in per cent, or a correlation
  std::vector<std::pair<std::string, double>> numbers;
  std::string table;   // for people
  std::optional<tasks::ConfusionMatrix> confusion;
  std::vector<Mistake> mistakes;  // most confident first
};

// A file that was read.
struct TaskSet {
  virtual ~TaskSet() = default;
  std::vector<Example> examples;
  int64_t records = 0;
  BadRecords bad;
  std::vector<std::string> notes;  // what is worth telling, such as answers that were moved
};

// The model's output for an example: rows of logits one after the other.
using Logits = std::vector<float>;

class Task {
 public:
  virtual ~Task() = default;
  virtual BertHeadConfig head() const = 0;
  virtual const std::vector<std::string>& labels() const = 0;
  // Reads the content of a file. `labelled`: records must have their label, answer or tags; else those are
  // not looked at, and JSON lines will do for every task.
  virtual std::unique_ptr<TaskSet> parse(const std::string& text, const std::filesystem::path& path, bool labelled) const = 0;
  std::unique_ptr<TaskSet> read(const std::filesystem::path& path, bool labelled) const { return parse(tasks::read_text(path), path, labelled); }
  virtual Score score(const TaskSet& set, const std::vector<Logits>& logits) const = 0;
  // One JSON object a record.
  virtual std::string predictions(const TaskSet& set, const std::vector<Logits>& logits) const = 0;
  // In the form the benchmark's scorer reads; the name of the file, and its text.
  virtual std::pair<std::string, std::string> official_predictions(const TaskSet& set, const std::vector<Logits>& logits) const = 0;
};

struct TaskOptions {
  TaskKind kind = TaskKind::classify;
  ModelSection model;
  DataSection data;
  TaskSection task;
};

// `labels`: of a tuned model; without them they are those of `train` (which may be empty only then).
// The tokenizer must outlive the task.
std::unique_ptr<Task> make_task(const TaskOptions& options, const Tokenizer& tokenizer, const std::vector<std::string>& labels);

std::unique_ptr<Task> make_ner_task(const TaskOptions& options, const Tokenizer& tokenizer, std::vector<std::string> labels);
std::unique_ptr<Task> make_qa_task(const TaskOptions& options, const Tokenizer& tokenizer);
std::unique_ptr<Task> make_classify_task(const TaskOptions& options, const Tokenizer& tokenizer, std::vector<std::string> labels);

// Probabilities of one row of logits.
std::vector<double> softmax(const float* logits, int64_t count);

}  // namespace triax::finetune
