#include "triax/finetune/task.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "triax/base/error.h"

namespace triax::finetune {
namespace {

constexpr std::array<std::string_view, 7> kNames = {"ner", "relation", "qa", "classify", "stance", "regress", "choice"};

}  // namespace

TaskKind task_kind_from(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  check(found != kNames.end(), "\"{}\" is not a task; ner, relation, qa, classify, stance, regress and choice are", name);
  return static_cast<TaskKind>(found - kNames.begin());
}

std::string_view task_name(TaskKind kind) { return kNames[static_cast<size_t>(kind)]; }

std::unique_ptr<Task> make_task(const TaskOptions& options, const Tokenizer& tokenizer, const std::vector<std::string>& labels) {
  switch (options.kind) {
    case TaskKind::ner: return make_ner_task(options, tokenizer, labels);
    case TaskKind::qa: return make_qa_task(options, tokenizer);
    default: return make_classify_task(options, tokenizer, labels);
  }
}

std::vector<double> softmax(const float* logits, int64_t count) {
  const float max = *std::max_element(logits, logits + count);
  std::vector<double> p(static_cast<size_t>(count));
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += p[i] = std::exp(static_cast<double>(logits[i]) - max);
  for (double& x : p) x /= sum;
  return p;
}

}  // namespace triax::finetune
