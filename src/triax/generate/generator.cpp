#include "triax/generate/generator.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"

namespace triax {
namespace {

constexpr int64_t kPrefillTokens = 4096;  // prompts read in one pass, unless one alone is longer

// One sequence in the making.
struct Sequence {
  std::vector<int32_t> tokens;  // prompt and what was generated
  Generation generation;
  StreamDecoder decoder;
  Philox random;
  size_t given_out = 0;  // bytes of generation.text that on_text has seen
  bool done = false;
};

// Keys and values of all sequences: per layer [b, max_s, a, d].
class KeyValueCache {
 public:
  KeyValueCache(const ModelConfig& config, DType dtype, int64_t sequences, int64_t max_length)
      : row_(config.hidden_size), max_length_(max_length), dtype_(dtype) {
    const Shape shape = {sequences, max_length, config.num_heads, config.hidden_size / config.num_heads};
    for (int64_t i = 0; i < config.num_layers; ++i) {
      keys_.emplace_back(shape, dtype);
      values_.emplace_back(shape, dtype);
    }
  }
  // Copies token `token` of qkv [n, 3, a, d] to a position of a sequence.
  void store(size_t layer, int64_t sequence, int64_t position, const Tensor& qkv, int64_t token) {
    const size_t bytes = static_cast<size_t>(row_) * size_of(dtype_);
    const auto* source = static_cast<const char*>(qkv.raw()) + static_cast<size_t>(token) * 3 * bytes;
    std::memcpy(keys_[layer].view()[sequence][position].raw(), source + bytes, bytes);
    std::memcpy(values_[layer].view()[sequence][position].raw(), source + 2 * bytes, bytes);
  }
  int64_t max_length() const { return max_length_; }
  const Tensor& keys(size_t layer) const { return keys_[layer].view(); }
  const Tensor& values(size_t layer) const { return values_[layer].view(); }

 private:
  int64_t row_, max_length_;
  DType dtype_;
  std::vector<OwnedTensor> keys_, values_;
};

// The model's temporaries for passes of up to n tokens.
class Pass {
 public:
  Pass(const Gpt& model, int64_t n) : model_(model) {
    Arena measured;
    allocate(n, measured);
    arena_ = std::make_unique<Arena>("generation", measured.peak());
    allocate(n, *arena_);
  }

  // Runs the layers over tokens at positions. attend(layer, stash, free) fills stash.attention from
  // stash.qkv; `free` [n, h] is memory it may use. Returns the last layer's output [n, h].
  template <typename Attend>
  Tensor run(const std::vector<int32_t>& tokens, const std::vector<int32_t>& positions, Attend&& attend) {
    const auto n = static_cast<int64_t>(tokens.size());
    MicroBatch batch;
    batch.tokens = {const_cast<int32_t*>(tokens.data()), {n}, DType::i32};
    batch.positions = {const_cast<int32_t*>(positions.data()), {n}, DType::i32};
    batch.layout.training = false;
    StageWorkspace workspace;
    workspace.block = first_rows(workspace_, n);
    const BlockStash& stash = workspace.block.recomputed;
    Tensor x = hidden_[0].narrow(0, 0, n), y = hidden_[1].narrow(0, 0, n);
    model_.embed(context_, batch, {}, workspace, x);
    for (int64_t layer = 0; layer < model_.part().num_layers; ++layer) {
      model_.block(layer).project_qkv(context_, x, stash, workspace.block);
      attend(static_cast<size_t>(layer), stash, workspace.block.partial);
      model_.block(layer).finish(context_, batch.layout, x, stash, workspace.block, y);
      std::swap(x, y);
    }
    return x;
  }

  const Context& context() const { return context_; }

 private:
  void allocate(int64_t n, Arena& arena) {
    const ModelConfig& config = model_.config();
    const DType dtype = model_.parameters().compute_type();
    workspace_ = TransformerBlock::allocate_workspace(config.block(), {}, Recompute::full, dtype, n, false, arena);
    for (Tensor& x : hidden_) x = arena.allocate({n, config.hidden_size}, dtype);
  }
  static BlockWorkspace first_rows(const BlockWorkspace& w, int64_t n) {
    const auto head = [n](const Tensor& x) { return x.narrow(0, 0, n); };
    BlockWorkspace out;
    out.partial = head(w.partial);
    const BlockStash& s = w.recomputed;
    BlockStash& t = out.recomputed;
    t.attention_norm_mean = head(s.attention_norm_mean);
    t.attention_norm_rstd = head(s.attention_norm_rstd);
    t.attention_norm = head(s.attention_norm);
    t.qkv = head(s.qkv);
    t.attention = head(s.attention);
    t.lse = Tensor(s.lse.raw(), {s.lse.dim(0), n}, DType::f32);
    t.residual = head(s.residual);
    t.mlp_norm_mean = head(s.mlp_norm_mean);
    t.mlp_norm_rstd = head(s.mlp_norm_rstd);
    t.mlp_norm = head(s.mlp_norm);
    t.mlp_pre = head(s.mlp_pre);
    t.mlp_act = head(s.mlp_act);
    return out;
  }

  const Gpt& model_;
  Context context_;
  std::unique_ptr<Arena> arena_;
  BlockWorkspace workspace_;
  Tensor hidden_[2];
};

// Logits of one row of the last layer's output, in f32.
class Head {
 public:
  explicit Head(const Gpt& model)
      : model_(model),
        norm_({1, model.config().hidden_size}, model.parameters().compute_type()),
        raw_({1, model.config().padded_vocab_size()}, model.parameters().compute_type()),
        logits_({1, model.config().padded_vocab_size()}, DType::f32) {}

  std::span<float> operator()(const Context& context, const Tensor& hidden, int64_t row) const {
    model_.logits(context, hidden.narrow(0, row, 1), norm_, raw_);
    convert(context, raw_, logits_);
    return logits_.span<float>().first(static_cast<size_t>(model_.config().vocab_size));
  }

 private:
  const Gpt& model_;
  OwnedTensor norm_, raw_, logits_;
};

// Copies the queries of qkv [n, 3, a, d] to q [n, a, d].
void copy_queries(const Tensor& qkv, const Tensor& q) {
  const size_t bytes = q[0].bytes();
  for (int64_t i = 0; i < q.dim(0); ++i) std::memcpy(q[i].raw(), qkv[i].raw(), bytes);
}

// Where the first stop string begins in `text`, or npos.
size_t find_stop(const std::string& text, const std::vector<std::string>& stops) {
  size_t first = std::string::npos;
  for (const std::string& stop : stops)
    if (!stop.empty()) first = std::min(first, text.find(stop));
  return first;
}

// How many bytes at the end of `text` could be the beginning of a stop string.
size_t possible_stop(const std::string& text, const std::vector<std::string>& stops) {
  size_t longest = 0;
  for (const std::string& stop : stops)
    for (size_t length = std::min(stop.size() - 1, text.size()); length > longest; --length)
      if (text.compare(text.size() - length, length, stop, 0, length) == 0) longest = length;
  return longest;
}

// One call of generate().
class Run {
 public:
  Run(const Gpt& model, const Tokenizer& tokenizer, const GenerateOptions& options,
      const std::function<void(size_t, std::string_view)>& on_text)
      : model_(model),
        tokenizer_(tokenizer),
        options_(options),
        on_text_(on_text),
        eod_(tokenizer.special_tokens().eod),
        scale_(1.0f / std::sqrt(static_cast<float>(model.config().block().head_dim()))),
        head_(model) {}

  std::vector<Generation> operator()(const std::vector<std::string>& prompts) {
    for (const std::string& prompt : prompts) add(prompt);
    if (!sequences_.empty() && options_.max_tokens > 0) {
      int64_t longest = 0;
      for (const Sequence& s : sequences_)
        longest = std::max(longest, static_cast<int64_t>(s.tokens.size()) + options_.max_tokens);
      KeyValueCache cache(model_.config(), model_.parameters().compute_type(),
                          static_cast<int64_t>(sequences_.size()),
                          std::min(longest, model_.config().max_positions));
      read_prompts(cache);
      grow(cache);
    }
    std::vector<Generation> results;
    for (Sequence& sequence : sequences_) results.push_back(std::move(sequence.generation));
    return results;
  }

 private:
  void add(const std::string& prompt) {
    const size_t number = sequences_.size();
    Sequence sequence{.tokens = {}, .generation = {}, .decoder = StreamDecoder(tokenizer_),
                      .random = Philox(options_.seed, number)};
    sequence.generation.finish_reason = "length";
    tokenizer_.encode(prompt, sequence.tokens);
    if (sequence.tokens.empty()) {
      check(eod_.has_value(), "the prompt is empty, and the vocabulary has no token to begin a text with");
      sequence.tokens.push_back(*eod_);
    }
    const auto length = static_cast<int64_t>(sequence.tokens.size());
    check(length < model_.config().max_positions,
          "prompt {} has {} tokens, and the model sees {} positions: shorten the prompt", number + 1, length,
          model_.config().max_positions);
    sequences_.push_back(std::move(sequence));
  }

  // The prompts, as many in one packed pass as fit kPrefillTokens; draws each one's first token.
  void read_prompts(KeyValueCache& cache) {
    int64_t longest = 0, total = 0;
    for (const Sequence& s : sequences_) {
      longest = std::max(longest, static_cast<int64_t>(s.tokens.size()));
      total += static_cast<int64_t>(s.tokens.size());
    }
    const int64_t capacity = std::max(longest, std::min(total, kPrefillTokens));
    Pass pass(model_, capacity);
    for (size_t begin = 0; begin < sequences_.size();) begin = read_some(pass, cache, begin, capacity);
  }

  // Packs prompts from `begin` on; returns the first that did not fit.
  size_t read_some(Pass& pass, KeyValueCache& cache, size_t begin, int64_t capacity) {
    std::vector<int32_t> tokens, positions;
    std::vector<Span> spans;
    size_t end = begin;
    for (; end < sequences_.size(); ++end) {
      const std::vector<int32_t>& prompt = sequences_[end].tokens;
      if (static_cast<int64_t>(tokens.size() + prompt.size()) > capacity) break;
      spans.push_back({static_cast<int64_t>(tokens.size()), static_cast<int64_t>(prompt.size())});
      for (size_t j = 0; j < prompt.size(); ++j) positions.push_back(static_cast<int32_t>(j));
      tokens.insert(tokens.end(), prompt.begin(), prompt.end());
    }
    AttentionOptions attention;
    attention.scale = scale_;
    const Tensor hidden = pass.run(tokens, positions, [&](size_t layer, const BlockStash& stash, const Tensor&) {
      attention_forward(pass.context(), stash.qkv, spans, attention, stash.attention, stash.lse);
      for (size_t i = 0; i < spans.size(); ++i)
        for (int64_t j = 0; j < spans[i].length; ++j)
          cache.store(layer, static_cast<int64_t>(begin + i), j, stash.qkv, spans[i].start + j);
    });
    for (size_t i = 0; i < spans.size(); ++i)
      advance(begin + i, pass.context(), hidden, spans[i].start + spans[i].length - 1);
    return end;
  }

  // One token of every sequence at a time, until all are done. A finished sequence is carried along
  // unchanged; its result is not looked at.
  void grow(KeyValueCache& cache) {
    const auto count = static_cast<int64_t>(sequences_.size());
    Pass pass(model_, count);
    std::vector<int32_t> tokens(sequences_.size()), positions(sequences_.size());
    std::vector<int64_t> lengths(sequences_.size());
    while (std::ranges::any_of(sequences_, [](const Sequence& s) { return !s.done; })) {
      for (size_t i = 0; i < sequences_.size(); ++i) {
        tokens[i] = sequences_[i].tokens.back();
        lengths[i] = std::min(static_cast<int64_t>(sequences_[i].tokens.size()), cache.max_length());
        positions[i] = static_cast<int32_t>(lengths[i] - 1);
      }
      const Tensor hidden = pass.run(tokens, positions, [&](size_t layer, const BlockStash& stash, const Tensor& free) {
        for (int64_t i = 0; i < count; ++i)
          cache.store(layer, i, positions[static_cast<size_t>(i)], stash.qkv, i);
        const Tensor queries = free.reshape(stash.attention.shape());
        copy_queries(stash.qkv, queries);
        attention_decode(pass.context(), queries, cache.keys(layer), cache.values(layer), lengths, scale_,
                         stash.attention);
      });
      for (size_t i = 0; i < sequences_.size(); ++i)
        if (!sequences_[i].done) advance(i, pass.context(), hidden, static_cast<int64_t>(i));
    }
  }

  // Draws the next token of sequence i from row `row` of the last layer's output.
  void advance(size_t i, const Context& context, const Tensor& hidden, int64_t row) {
    Sequence& s = sequences_[i];
    Generation& made = s.generation;
    const SampledToken next = sample_token(head_(context, hidden, row), s.tokens, options_.sampling, s.random);
    if (options_.stop_at_end_of_document && eod_ && next.token == *eod_) return finish(i, "end of document");
    s.tokens.push_back(next.token);
    made.tokens.push_back(next.token);
    made.log_probabilities.push_back(next.log_probability);
    made.text += s.decoder.push(next.token);
    const size_t stop = find_stop(made.text, options_.stop);
    if (stop != std::string::npos) {
      made.text.resize(std::max(stop, s.given_out));
      return finish(i, "stop");
    }
    if (static_cast<int64_t>(made.tokens.size()) >= options_.max_tokens) return finish(i, "length");
    if (static_cast<int64_t>(s.tokens.size()) >= model_.config().max_positions)
      return finish(i, "context full");
    give_out(i, possible_stop(made.text, options_.stop));
  }

  void finish(size_t i, const char* reason) {
    Sequence& s = sequences_[i];
    s.done = true;
    s.generation.finish_reason = reason;
    if (std::string_view(reason) != "stop") s.generation.text += s.decoder.finish();
    give_out(i, 0);
  }

  // Shows what has been written since the last time, but for the last `held_back` bytes.
  void give_out(size_t i, size_t held_back) {
    Sequence& s = sequences_[i];
    const std::string_view safe = std::string_view(s.generation.text).substr(0, s.generation.text.size() - held_back);
    if (safe.size() <= s.given_out) return;
    if (on_text_) on_text_(i, safe.substr(s.given_out));
    s.given_out = safe.size();
  }

  const Gpt& model_;
  const Tokenizer& tokenizer_;
  const GenerateOptions& options_;
  const std::function<void(size_t, std::string_view)>& on_text_;
  const std::optional<int32_t> eod_;
  const float scale_;
  const Head head_;
  std::vector<Sequence> sequences_;
};

}  // namespace

Generator::Generator(const Gpt& model, const Tokenizer& tokenizer) : model_(model), tokenizer_(tokenizer) {
  check(tokenizer.vocab_size() <= model.config().padded_vocab_size(),
        "the tokenizer has {} tokens and the model only {}: they do not belong together",
        tokenizer.vocab_size(), model.config().vocab_size);
}

std::vector<Generation> Generator::generate(
    const std::vector<std::string>& prompts, const GenerateOptions& options,
    const std::function<void(size_t, std::string_view)>& on_text) const {
  return Run(model_, tokenizer_, options, on_text)(prompts);
}

}  // namespace triax
