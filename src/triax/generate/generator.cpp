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
  KeyValueCache(const GptConfig& config, DType dtype, int64_t sequences, int64_t max_length)
      : row_(config.hidden_size), dtype_(dtype) {
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
  const Tensor& keys(size_t layer) const { return keys_[layer].view(); }
  const Tensor& values(size_t layer) const { return values_[layer].view(); }

 private:
  int64_t row_;
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

  // Runs the layers over tokens at positions. attend(layer, block stash) fills stash.attention from
  // stash.qkv. Returns the last layer's output [n, h].
  template <typename Attend>
  Tensor run(const std::vector<int32_t>& tokens, const std::vector<int32_t>& positions, Attend&& attend) {
    const auto n = static_cast<int64_t>(tokens.size());
    MicroBatch batch;
    batch.tokens = {const_cast<int32_t*>(tokens.data()), {n}, DType::i32};
    batch.positions = {const_cast<int32_t*>(positions.data()), {n}, DType::i32};
    batch.layout.training = false;
    GptWorkspace workspace;
    workspace.block = first_rows(workspace_, n);
    const BlockStash& stash = workspace.block.recomputed;
    Tensor x = hidden_[0].narrow(0, 0, n), y = hidden_[1].narrow(0, 0, n);
    model_.embed(context_, batch, workspace, x);
    for (int64_t layer = 0; layer < model_.part().num_layers; ++layer) {
      model_.block(layer).project_qkv(context_, x, stash, workspace.block);
      attend(static_cast<size_t>(layer), stash);
      model_.block(layer).finish(context_, batch.layout, x, stash, workspace.block, y);
      std::swap(x, y);
    }
    return x;
  }

  const Context& context() const { return context_; }

 private:
  void allocate(int64_t n, Arena& arena) {
    const GptConfig& config = model_.config();
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

}  // namespace

Generator::Generator(const Gpt& model, const Tokenizer& tokenizer) : model_(model), tokenizer_(tokenizer) {
  check(tokenizer.vocab_size() <= model.config().padded_vocab_size(),
        "the tokenizer has {} tokens and the model only {}: they do not belong together",
        tokenizer.vocab_size(), model.config().vocab_size);
}

std::vector<Generation> Generator::generate(
    const std::vector<std::string>& prompts, const GenerateOptions& options,
    const std::function<void(size_t, std::string_view)>& on_text) const {
  const int64_t max_positions = model_.config().max_positions;
  const auto eod = tokenizer_.special_tokens().eod;
  std::vector<Sequence> sequences;
  int64_t longest = 0, longest_prompt = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Sequence sequence{.tokens = {}, .generation = {}, .decoder = StreamDecoder(tokenizer_),
                      .random = Philox(options.seed, i)};
    tokenizer_.encode(prompts[i], sequence.tokens);
    if (sequence.tokens.empty()) {
      check(eod.has_value(), "the prompt is empty, and the vocabulary has no token to begin a text with");
      sequence.tokens.push_back(*eod);
    }
    const auto length = static_cast<int64_t>(sequence.tokens.size());
    check(length < max_positions,
          "prompt {} has {} tokens, and the model sees {} positions: shorten the prompt", i + 1, length,
          max_positions);
    longest_prompt = std::max(longest_prompt, length);
    longest = std::max(longest, std::min(max_positions, length + options.max_tokens));
    sequences.push_back(std::move(sequence));
  }
  if (sequences.empty() || options.max_tokens <= 0) {
    std::vector<Generation> none(prompts.size());
    for (Generation& generation : none) generation.finish_reason = "length";
    return none;
  }

  KeyValueCache cache(model_.config(), model_.parameters().compute_type(),
                      static_cast<int64_t>(sequences.size()), longest);
  const Head head(model_);

  const auto give_out = [&](size_t i, bool end) {
    Sequence& s = sequences[i];
    const std::string& text = s.generation.text;
    const size_t safe = text.size() - (end ? 0 : possible_stop(text, options.stop));
    if (safe > s.given_out && on_text)
      on_text(i, std::string_view(text).substr(s.given_out, safe - s.given_out));
    s.given_out = std::max(s.given_out, safe);
  };
  const auto finish = [&](size_t i, const char* reason) {
    Sequence& s = sequences[i];
    s.done = true;
    s.generation.finish_reason = reason;
    if (std::string_view(reason) != "stop") s.generation.text += s.decoder.finish();
    give_out(i, true);
  };
  // Draws the next token of sequence i from the logits of `row`.
  const auto advance = [&](size_t i, const Context& context, const Tensor& hidden, int64_t row) {
    Sequence& s = sequences[i];
    const std::span<float> logits = head(context, hidden, row);
    const SampledToken next = sample_token(logits, s.tokens, options.sampling, s.random);
    if (options.stop_at_end_of_document && eod && next.token == *eod) return finish(i, "end of document");
    s.tokens.push_back(next.token);
    s.generation.tokens.push_back(next.token);
    s.generation.log_probabilities.push_back(next.log_probability);
    s.generation.text += s.decoder.push(next.token);
    const size_t stop = find_stop(s.generation.text, options.stop);
    if (stop != std::string::npos) {
      s.generation.text.resize(std::max(stop, s.given_out));
      return finish(i, "stop");
    }
    give_out(i, false);
    if (static_cast<int64_t>(s.generation.tokens.size()) >= options.max_tokens) return finish(i, "length");
    if (static_cast<int64_t>(s.tokens.size()) >= max_positions) return finish(i, "context full");
  };

  // Prompts, packed.
  {
    Pass pass(model_, std::max(longest_prompt, std::min<int64_t>(kPrefillTokens,
                                                                 longest_prompt * static_cast<int64_t>(sequences.size()))));
    const int64_t capacity = std::max(longest_prompt, kPrefillTokens);
    for (size_t begin = 0; begin < sequences.size();) {
      std::vector<int32_t> tokens, positions;
      std::vector<Span> spans;
      size_t end = begin;
      for (; end < sequences.size(); ++end) {
        const auto& prompt = sequences[end].tokens;
        if (end > begin && static_cast<int64_t>(tokens.size() + prompt.size()) > capacity) break;
        spans.push_back({static_cast<int64_t>(tokens.size()), static_cast<int64_t>(prompt.size())});
        for (size_t j = 0; j < prompt.size(); ++j) positions.push_back(static_cast<int32_t>(j));
        tokens.insert(tokens.end(), prompt.begin(), prompt.end());
      }
      AttentionOptions attention;
      attention.scale = 1.0f / std::sqrt(static_cast<float>(model_.config().block().head_dim()));
      const Tensor hidden = pass.run(tokens, positions, [&](size_t layer, const BlockStash& stash) {
        attention_forward(pass.context(), stash.qkv, spans, attention, stash.attention, stash.lse);
        for (size_t i = begin; i < end; ++i)
          for (int64_t j = 0; j < spans[i - begin].length; ++j)
            cache.store(layer, static_cast<int64_t>(i), j, stash.qkv, spans[i - begin].start + j);
      });
      for (size_t i = begin; i < end; ++i) {
        const Span& span = spans[i - begin];
        advance(i, pass.context(), hidden, span.start + span.length - 1);
      }
      begin = end;
    }
  }

  // One token of every sequence at a time.
  Pass pass(model_, static_cast<int64_t>(sequences.size()));
  std::vector<int32_t> tokens(sequences.size()), positions(sequences.size());
  std::vector<int64_t> lengths(sequences.size());
  const float scale = 1.0f / std::sqrt(static_cast<float>(model_.config().block().head_dim()));
  while (std::any_of(sequences.begin(), sequences.end(), [](const Sequence& s) { return !s.done; })) {
    for (size_t i = 0; i < sequences.size(); ++i) {
      // A finished sequence is carried along unchanged; its result is not looked at.
      const size_t length = std::min(sequences[i].tokens.size(), static_cast<size_t>(longest));
      tokens[i] = sequences[i].tokens[length - 1];
      positions[i] = static_cast<int32_t>(length - 1);
      lengths[i] = static_cast<int64_t>(length);
    }
    const Tensor hidden = pass.run(tokens, positions, [&](size_t layer, const BlockStash& stash) {
      const Tensor queries = stash.qkv;
      for (size_t i = 0; i < sequences.size(); ++i)
        cache.store(layer, static_cast<int64_t>(i), positions[i], queries, static_cast<int64_t>(i));
      Tensor q = queries.narrow(1, 0, 1);  // [b, 1, a, d], a slice of qkv
      attention_decode(pass.context(), q, cache.keys(layer), cache.values(layer), lengths, scale,
                       stash.attention);
    });
    for (size_t i = 0; i < sequences.size(); ++i)
      if (!sequences[i].done) advance(i, pass.context(), hidden, static_cast<int64_t>(i));
  }
  std::vector<Generation> results;
  for (Sequence& sequence : sequences) results.push_back(std::move(sequence.generation));
  return results;
}

}  // namespace triax
