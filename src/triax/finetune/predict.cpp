#include "triax/finetune/predict.h"

#include <algorithm>

#include "triax/base/error.h"
#include "triax/finetune/batches.h"

namespace triax::finetune {
namespace {

bool answers_by_token(const BertHeadConfig& head) { return head.head == BertHead::tokens || head.head == BertHead::spans; }

// Where each batch of examples begins, and the last one's ends: as many as the engine has room for, of up to so many tokens.
std::vector<size_t> batches_of(std::span<const Example> examples, int64_t tokens, const EngineConfig& config) {
  tokens = std::min(tokens, config.packed_tokens);
  std::vector<size_t> begins;
  int64_t filled = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    const auto length = static_cast<int64_t>(examples[i].ids.size());
    check(length <= config.sequence_length, "a sequence of {} tokens is longer than the model's {} positions", length, config.sequence_length);
    const bool full = begins.empty() || filled + length > tokens || static_cast<int64_t>(i - begins.back()) == config.micro_batch_size;
    if (full) begins.push_back(i), filled = 0;
    filled += length;
  }
  begins.push_back(examples.size());
  return begins;
}

TokenBatch batch_of(std::span<const Example> examples) {
  TokenBatch batch;
  for (const Example& e : examples) append(e, batch);
  return batch;
}

void take_logits(const BertHeadConfig& head, const Tensor& logits, std::span<const Span> spans, std::span<Logits> out) {
  const float* x = logits.data<float>();
  const int64_t width = logits.dim(1);
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t begin = answers_by_token(head) ? spans[i].start : static_cast<int64_t>(i), count = answers_by_token(head) ? spans[i].length : 1;
    out[i].assign(x + begin * width, x + (begin + count) * width);
  }
}

// Every rank has its part of what is empty elsewhere; all get everything.
void share_among(Communicator& ranks, const BertHeadConfig& head, std::span<const Example> examples, std::vector<Logits>& logits) {
  std::vector<float> all;
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i].resize(static_cast<size_t>(head.outputs()) * (answers_by_token(head) ? examples[i].ids.size() : 1));
    all.insert(all.end(), logits[i].begin(), logits[i].end());
  }
  ranks.all_reduce({all.data(), {static_cast<int64_t>(all.size())}, DType::f32});
  auto from = all.begin();
  for (Logits& of_example : logits) {
    const auto end = from + static_cast<std::ptrdiff_t>(of_example.size());
    std::copy(from, end, of_example.begin());
    from = end;
  }
}

}  // namespace

std::vector<Logits> predict_all(Engine& engine, std::span<const Example> examples, int64_t tokens, const std::function<void(uint64_t)>& progress) {
  const EngineConfig& config = engine.config();
  const auto replicas = static_cast<size_t>(config.parallel.grid.data_parallel), replica = static_cast<size_t>(engine.at().data);
  const auto stages = static_cast<size_t>(config.parallel.grid.pipeline_parallel);
  const size_t at_a_time = replicas * (stages > 1 ? 8 * stages : 1);  // a pipeline wants many, to be idle seldom
  std::vector<Logits> out(examples.size());
  const std::vector<size_t> begins = batches_of(examples, tokens, config);
  const size_t count = begins.size() - 1;
  for (size_t first = 0; first < count; first += at_a_time) {
    const size_t end = std::min(count, first + at_a_time);
    std::vector<TokenBatch> batches((end - first + replicas - 1) / replicas);
    const auto mine = [&](size_t i) {  // of the examples, those of batch i; none behind the last
      const size_t b = std::min(first + i * replicas + replica, count);
      return std::pair(begins[b], begins[std::min(b + 1, count)]);
    };
    for (size_t i = 0; i < batches.size(); ++i) {
      const auto [from, to] = mine(i);
      batches[i] = batch_of(examples.subspan(from, to - from));
      complete(config, batches[i]);
    }
    engine.predict(batches, [&](size_t i, const Tensor& logits) {
      const auto [from, to] = mine(i);
      if (engine.at().tensor == 0) take_logits(config.head, logits, batches[i].spans, {out.data() + from, to - from});
    });
    if (progress) progress(begins[end]);
  }
  if (engine.grid()) share_among(engine.grid()->world().communicator(), config.head, examples, out);
  return out;
}

}  // namespace triax::finetune
