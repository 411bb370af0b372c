#include "triax/generate/generator.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "triax/base/error.h"
#include "triax/base/numbers.h"
#include "triax/kernels/device_queue.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/embedding.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

constexpr int64_t kPrefillTokens = 4096;  // prompts read in one pass, unless one alone is longer
constexpr int64_t kSameWork = 256;        // tokens that texts grow by before their attention is divided anew

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
  KeyValueCache(const Gpt& model, int64_t sequences, int64_t max_length) : max_length_(max_length) {
    const ModelConfig& config = model.config();
    const Shape shape = {sequences, max_length, config.num_heads, config.hidden_size / config.num_heads};
    for (int64_t i = 0; i < config.num_layers; ++i) {
      keys_.emplace_back(shape, model.parameters().compute_type(), model.parameters().device());
      values_.emplace_back(shape, model.parameters().compute_type(), model.parameters().device());
    }
  }
  // Where a sequence's position is: a row of all.
  int32_t slot(int64_t sequence, int64_t position) const { return static_cast<int32_t>(sequence * max_length_ + position); }
  // Puts the keys and values of qkv [n, 3, a, d] into slots [n].
  void store(const Context& context, size_t layer, const Tensor& qkv, const Tensor& slots) const {
    const int64_t h = qkv.dim(2) * qkv.dim(3);
    const Tensor rows = qkv.reshape({qkv.dim(0), 3 * h});
    scatter_rows(context, rows.narrow(1, h, h), slots, 0, false, keys(layer).reshape({-1, h}));
    scatter_rows(context, rows.narrow(1, 2 * h, h), slots, 0, false, values(layer).reshape({-1, h}));
  }
  int64_t max_length() const { return max_length_; }
  const Tensor& keys(size_t layer) const { return keys_[layer].view(); }
  const Tensor& values(size_t layer) const { return values_[layer].view(); }

 private:
  int64_t max_length_;
  std::vector<OwnedTensor> keys_, values_;
};

// The tokens of a pass.
struct PassTokens {
  std::vector<int32_t> tokens, positions, slots;  // slots: where each one's keys and values go
  std::vector<int32_t> lengths;                   // of a pass of one token a sequence: its place in the text, from 1 on
};

// The model's temporaries for passes of up to n tokens.
class Pass {
 public:
  Pass(const Gpt& model, const Context& context, int64_t n) : model_(model), context_(context) {
    Arena measured(context.device);
    allocate(n, measured);
    arena_ = std::make_unique<Arena>("generation", measured.peak(), context.device);
    allocate(n, *arena_);
  }

  // The tokens that run() is about, which queues operations only.
  void load(const PassTokens& tokens) {
    batch_.tokens = upload(tokens.tokens, tokens_);
    batch_.positions = upload(tokens.positions, positions_);
    batch_.layout.training = false;
    loaded_slots_ = upload(tokens.slots, slots_);
    if (!tokens.lengths.empty()) upload(tokens.lengths, lengths_);
  }
  const Tensor& lengths() const { return lengths_; }

  // Runs the layers over the tokens, keeping their keys and values. attend(layer, stash, free) fills
  // stash.attention from stash.qkv; `free` [n, h] is memory it may use. Returns the last layer's output [n, h].
  template <typename Attend>
  Tensor run(const KeyValueCache& cache, Attend&& attend) {
    const int64_t n = batch_.tokens.dim(0);
    StageWorkspace workspace;
    workspace.block = first_rows(workspace_, n);
    const BlockStash& stash = workspace.block.recomputed;
    Tensor x = hidden_[0].narrow(0, 0, n), y = hidden_[1].narrow(0, 0, n);
    model_.embed(context_, batch_, {}, workspace, x);
    for (int64_t layer = 0; layer < model_.part().num_layers; ++layer) {
      model_.block(layer).project_qkv(context_, x, stash, workspace.block);
      cache.store(context_, static_cast<size_t>(layer), stash.qkv, loaded_slots_);
      attend(static_cast<size_t>(layer), stash, workspace.block.partial);
      model_.block(layer).finish(context_, batch_.layout, x, stash, workspace.block, y);
      std::swap(x, y);
    }
    return x;
  }

  // Rows [m] of a result of run(), together [m, h].
  Tensor rows(const Tensor& hidden, const std::vector<int32_t>& numbers) {
    const auto m = static_cast<int64_t>(numbers.size());
    const Tensor& other = hidden.raw() == hidden_[0].raw() ? hidden_[1] : hidden_[0];
    const Tensor gathered = other.narrow(0, 0, m);
    embedding_forward(context_, upload(numbers, tokens_), hidden, 0, gathered);
    return gathered;
  }

 private:
  static Tensor upload(const std::vector<int32_t>& values, const Tensor& memory) {
    const auto n = static_cast<int64_t>(values.size());
    const Tensor to = memory.narrow(0, 0, n);
    copy_between_devices({const_cast<int32_t*>(values.data()), {n}, DType::i32}, to);
    return to;
  }
  void allocate(int64_t n, Arena& arena) {
    const ModelConfig& config = model_.config();
    const DType dtype = model_.parameters().compute_type();
    workspace_ = TransformerBlock::allocate_workspace(config.block(), {}, Recompute::full, dtype, n, 1, false, arena);
    for (Tensor& x : hidden_) x = arena.allocate({n, config.hidden_size}, dtype);
    for (Tensor* ids : {&tokens_, &positions_, &slots_, &lengths_}) *ids = arena.allocate({n}, DType::i32);
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
    t.lse = Tensor(s.lse.raw(), {s.lse.dim(0), n}, DType::f32, s.lse.device());
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
  Tensor tokens_, positions_, slots_, lengths_;
  MicroBatch batch_;
  Tensor loaded_slots_;
};

// Logits of rows of the last layer's output, in f32 and in the host's memory.
class Head {
 public:
  static constexpr int64_t kRows = 64;  // at a time
  Head(const Gpt& model, const Context& context, int64_t rows)
      : model_(model), context_(context) {
    const int64_t v = model.config().padded_vocab_size();
    const DType dtype = model.parameters().compute_type();
    norm_ = OwnedTensor({rows, model.config().hidden_size}, dtype, context.device);
    raw_ = OwnedTensor({rows, v}, dtype, context.device);
    logits_ = OwnedTensor({rows, v}, DType::f32, context.device);
    on_host_ = context.device.on_host() ? logits_.view() : (copy_ = OwnedTensor({rows, v}, DType::f32)).view();
  }

  // hidden [m, h]; what is returned counts until the next call.
  std::vector<std::span<float>> operator()(const Tensor& hidden) const {
    const int64_t m = hidden.dim(0), v = logits_.view().dim(1);
    const auto first = [m](const Tensor& x) { return x.narrow(0, 0, m); };
    model_.logits(context_, hidden, first(norm_), first(raw_));
    convert(context_, first(raw_), first(logits_));
    copy_between_devices(first(logits_), first(on_host_));
    std::vector<std::span<float>> rows;
    for (int64_t i = 0; i < m; ++i)
      rows.push_back({on_host_.data<float>() + i * v, static_cast<size_t>(model_.config().vocab_size)});
    return rows;
  }

 private:
  const Gpt& model_;
  const Context context_;
  OwnedTensor norm_, raw_, logits_, copy_;
  Tensor on_host_;
};

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
  Run(const Gpt& model, const Tokenizer& tokenizer, const Context& context, const GenerateOptions& options,
      const std::function<void(size_t, std::string_view)>& on_text)
      : model_(model),
        context_(context),
        tokenizer_(tokenizer),
        options_(options),
        on_text_(on_text),
        eod_(tokenizer.special_tokens().eod),
        scale_(1.0f / std::sqrt(static_cast<float>(model.config().block().head_dim()))) {}

  std::vector<Generation> operator()(const std::vector<std::string>& prompts) {
    for (const std::string& prompt : prompts) add(prompt);
    if (!sequences_.empty() && options_.max_tokens > 0) {
      int64_t longest = 0;
      for (const Sequence& s : sequences_)
        longest = std::max(longest, static_cast<int64_t>(s.tokens.size()) + options_.max_tokens);
      const auto count = static_cast<int64_t>(sequences_.size());
      const KeyValueCache cache(model_, count, std::min(longest, model_.config().max_positions));
      head_ = std::make_unique<Head>(model_, context_, std::min(count, Head::kRows));
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
  void read_prompts(const KeyValueCache& cache) {
    int64_t longest = 0, total = 0;
    for (const Sequence& s : sequences_) {
      longest = std::max(longest, static_cast<int64_t>(s.tokens.size()));
      total += static_cast<int64_t>(s.tokens.size());
    }
    const int64_t capacity = std::max(longest, std::min(total, kPrefillTokens));
    Pass pass(model_, context_, capacity);
    for (size_t begin = 0; begin < sequences_.size();) begin = read_some(pass, cache, begin, capacity);
  }

  // Packs prompts from `begin` on; returns the first that did not fit.
  size_t read_some(Pass& pass, const KeyValueCache& cache, size_t begin, int64_t capacity) {
    PassTokens packed;
    std::vector<Span> spans;
    std::vector<size_t> sequences;
    std::vector<int32_t> last;
    size_t end = begin;
    for (; end < sequences_.size(); ++end) {
      const std::vector<int32_t>& prompt = sequences_[end].tokens;
      if (static_cast<int64_t>(packed.tokens.size() + prompt.size()) > capacity) break;
      spans.push_back({static_cast<int64_t>(packed.tokens.size()), static_cast<int64_t>(prompt.size())});
      for (int64_t j = 0; j < std::ssize(prompt); ++j) {
        packed.positions.push_back(static_cast<int32_t>(j));
        packed.slots.push_back(cache.slot(static_cast<int64_t>(end), j));
      }
      packed.tokens.insert(packed.tokens.end(), prompt.begin(), prompt.end());
      sequences.push_back(end);
      last.push_back(static_cast<int32_t>(packed.tokens.size()) - 1);
    }
    AttentionOptions attention;
    attention.scale = scale_;
    pass.load(packed);
    const Tensor hidden = pass.run(cache, [&](size_t, const BlockStash& stash, const Tensor&) {
      attention_forward(context_, stash.qkv, spans, attention, stash.attention, stash.lse);
    });
    draw(pass, hidden, sequences, last);
    return end;
  }

  // One token of every sequence at a time, until all are done. A finished sequence is carried along
  // unchanged; its result is not looked at.
  void grow(const KeyValueCache& cache) {
    const size_t count = sequences_.size();
    Pass pass(model_, context_, static_cast<int64_t>(count));
    PassTokens newest{std::vector<int32_t>(count), std::vector<int32_t>(count), std::vector<int32_t>(count), std::vector<int32_t>(count)};
    int64_t longest = 0;
    std::unique_ptr<RepeatedWork> step;
    Tensor hidden;
    while (std::ranges::any_of(sequences_, [](const Sequence& s) { return !s.done; })) {
      std::vector<size_t> growing;
      std::vector<int32_t> rows;
      for (size_t i = 0; i < count; ++i) {
        const int64_t length = std::min(static_cast<int64_t>(sequences_[i].tokens.size()), cache.max_length());
        newest.tokens[i] = sequences_[i].tokens.back();
        newest.lengths[i] = static_cast<int32_t>(length);
        newest.positions[i] = static_cast<int32_t>(length - 1);
        newest.slots[i] = cache.slot(static_cast<int64_t>(i), length - 1);
        if (!sequences_[i].done) growing.push_back(i), rows.push_back(static_cast<int32_t>(i));
      }
      pass.load(newest);
      // The same work until the texts have outgrown it.
      const int64_t most = std::min(round_up(std::ranges::max(newest.lengths), kSameWork), cache.max_length());
      if (most != std::exchange(longest, most)) step = repeated_work(context_);
      step->run([&] { hidden = pass.run(cache, [&](size_t layer, const BlockStash& stash, const Tensor& free) { decode(pass, cache, longest, layer, stash, free); }); });
      draw(pass, hidden, growing, rows);
    }
  }

  // `free` [n, h] for the queries, which attention wants by themselves.
  void decode(const Pass& pass, const KeyValueCache& cache, int64_t longest, size_t layer, const BlockStash& stash, const Tensor& free) const {
    const int64_t n = free.dim(0), h = free.dim(1);
    convert(context_, stash.qkv.reshape({n, 3 * h}).narrow(1, 0, h), free);
    attention_decode(context_, free.reshape(stash.attention.shape()), cache.keys(layer), cache.values(layer), pass.lengths(), longest,
                     scale_, stash.attention);
  }

  // Draws the next token of some sequences, each from its row of the last layer's output.
  void draw(Pass& pass, const Tensor& hidden, const std::vector<size_t>& sequences, const std::vector<int32_t>& rows) {
    constexpr auto kAtATime = static_cast<size_t>(Head::kRows);
    for (size_t begin = 0; begin < rows.size(); begin += kAtATime) {
      const auto first = rows.begin() + static_cast<std::ptrdiff_t>(begin);
      const size_t count = std::min(kAtATime, rows.size() - begin);
      const auto logits = (*head_)(pass.rows(hidden, {first, first + static_cast<std::ptrdiff_t>(count)}));
      for (size_t i = 0; i < count; ++i) advance(sequences[begin + i], logits[i]);
    }
  }

  void advance(size_t i, std::span<float> logits) {
    Sequence& s = sequences_[i];
    Generation& made = s.generation;
    const SampledToken next = sample_token(logits, s.tokens, options_.sampling, s.random);
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
  const Context context_;
  const Tokenizer& tokenizer_;
  const GenerateOptions& options_;
  const std::function<void(size_t, std::string_view)>& on_text_;
  const std::optional<int32_t> eod_;
  const float scale_;
  std::unique_ptr<Head> head_;
  std::vector<Sequence> sequences_;
};

}  // namespace

Generator::Generator(const Gpt& model, const Tokenizer& tokenizer, const Context& context)
    : model_(model), tokenizer_(tokenizer), context_(context) {
  check(tokenizer.vocab_size() <= model.config().padded_vocab_size(),
        "the tokenizer has {} tokens and the model only {}: they do not belong together",
        tokenizer.vocab_size(), model.config().vocab_size);
}

std::vector<Generation> Generator::generate(
    const std::vector<std::string>& prompts, const GenerateOptions& options,
    const std::function<void(size_t, std::string_view)>& on_text) const {
  return Run(model_, tokenizer_, context_, options, on_text)(prompts);
}

}  // namespace triax
