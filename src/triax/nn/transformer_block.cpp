#include "triax/nn/transformer_block.h"

#include <algorithm>
#include <cmath>

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/float8.h"
#include "triax/kernels/layernorm.h"

namespace triax {
namespace {

// A vector or matrix that every tensor-parallel rank holds whole.
ParameterSpec whole(std::string name, Shape shape, Init init) {
  return {.name = std::move(name), .global_shape = shape, .shape = shape, .offset = {}, .init = init};
}

// One that is split evenly along `axis`.
ParameterSpec split_along(int axis, std::string name, Shape shape, Init init, int rank, int size) {
  ParameterSpec spec = whole(std::move(name), shape, init);
  spec.shape[axis] = shape[axis] / size;
  spec.offset = shape;
  for (int i = 0; i < shape.rank(); ++i) spec.offset[i] = 0;
  spec.offset[axis] = spec.shape[axis] * rank;
  spec.split = true;
  return spec;
}

ParameterSpec matrix(ParameterSpec spec, float init_std) {
  spec.init_std = init_std;
  spec.matrix = true;
  return spec;
}

// [n, 3, a', d] or [n, a', d] seen as [n, features].
Tensor rows(const Tensor& x) { return x.reshape({x.dim(0), -1}); }

}  // namespace

BlockParameters declare_block(const BlockConfig& config, int64_t layer, int tp_rank, int tp_size,
                              ParameterTable& table) {
  const int64_t h = config.hidden_size, a = config.num_heads, d = config.head_dim();
  const int64_t f = config.ffn_hidden_size;
  const std::string unit = "layers." + std::to_string(layer), prefix = unit + ".";
  table.begin_unit(unit, true);
  const auto part = [&](int axis, const char* name, Shape shape, Init init) {
    return split_along(axis, prefix + name, shape, init, tp_rank, tp_size);
  };
  const auto vector = [&](const char* name, Init init) { return whole(prefix + name, {h}, init); };
  BlockParameters p{};
  p.attention_norm_weight = table.add(vector("attention_norm.weight", Init::ones));
  p.attention_norm_bias = table.add(vector("attention_norm.bias", Init::zeros));
  p.qkv_weight = table.add(matrix(part(1, "qkv.weight", {3, a, d, h}, Init::normal), config.init_std));
  p.qkv_bias = table.add(part(1, "qkv.bias", {3, a, d}, Init::zeros));
  p.attention_output_weight = table.add(
      matrix(part(1, "attention_output.weight", {h, h}, Init::normal), config.output_init_std));
  p.attention_output_bias = table.add(vector("attention_output.bias", Init::zeros));
  p.mlp_norm_weight = table.add(vector("mlp_norm.weight", Init::ones));
  p.mlp_norm_bias = table.add(vector("mlp_norm.bias", Init::zeros));
  p.mlp_up_weight = table.add(matrix(part(0, "mlp_up.weight", {f, h}, Init::normal), config.init_std));
  p.mlp_up_bias = table.add(part(0, "mlp_up.bias", {f}, Init::zeros));
  p.mlp_down_weight =
      table.add(matrix(part(1, "mlp_down.weight", {h, f}, Init::normal), config.output_init_std));
  p.mlp_down_bias = table.add(vector("mlp_down.bias", Init::zeros));
  return p;
}

TransformerBlock::TransformerBlock(const BlockConfig& config, int64_t layer,
                                   BlockParameters indices, const Parameters& parameters,
                                   const TensorParallel& parallel)
    : config_(config),
      layer_(layer),
      p_(indices),
      parameters_(&parameters),
      parallel_(parallel) {}

BlockStash TransformerBlock::allocate_stash(const BlockConfig& config,
                                            const TensorParallel& parallel, Recompute recompute,
                                            DType dtype, int64_t n, Arena& arena) {
  BlockStash stash;
  if (recompute == Recompute::full) return stash;
  const int64_t h = config.hidden_size, heads = config.num_heads / parallel.size();
  const int64_t f = config.ffn_hidden_size / parallel.size(), r = parallel.residual_rows(n);
  const auto statistics = [&] { return arena.allocate({r}, DType::f32); };
  stash.attention_norm_mean = statistics();
  stash.attention_norm_rstd = statistics();
  stash.qkv = arena.allocate({n, 3, heads, config.head_dim()}, dtype);
  stash.attention = arena.allocate({n, heads, config.head_dim()}, dtype);
  stash.lse = arena.allocate({heads, n}, DType::f32);
  stash.residual = arena.allocate({r, h}, dtype);
  stash.mlp_norm_mean = statistics();
  stash.mlp_norm_rstd = statistics();
  stash.mlp_pre = arena.allocate({n, f}, dtype);
  if (config.post_norm) stash.output_sum = arena.allocate({r, h}, dtype);
  if (recompute == Recompute::none) {
    if (!config.post_norm || parallel.splits_tokens()) stash.attention_norm = arena.allocate({n, h}, dtype);
    stash.mlp_norm = arena.allocate({n, h}, dtype);
    stash.mlp_act = arena.allocate({n, f}, dtype);
  }
  return stash;
}

BlockDeferred TransformerBlock::allocate_deferred(const BlockConfig& config, const TensorParallel& parallel,
                                                  DType dtype, int64_t n, Arena& arena) {
  const int64_t h = config.hidden_size, heads = config.num_heads / parallel.size();
  BlockDeferred deferred;
  deferred.mlp_output = arena.allocate({n, h}, dtype);
  deferred.mlp_pre = arena.allocate({n, config.ffn_hidden_size / parallel.size()}, dtype);
  deferred.attention_output = arena.allocate({n, h}, dtype);
  deferred.qkv = arena.allocate({n, 3, heads, config.head_dim()}, dtype);
  return deferred;
}

BlockWorkspace TransformerBlock::allocate_workspace(const BlockConfig& config,
                                                    const TensorParallel& parallel,
                                                    Recompute recompute, DType dtype, int64_t n,
                                                    int64_t sequences, bool with_backward, Arena& arena) {
  const int64_t h = config.hidden_size, heads = config.num_heads / parallel.size();
  const int64_t f = config.ffn_hidden_size / parallel.size(), r = parallel.residual_rows(n);
  BlockWorkspace w;
  w.partial = arena.allocate({n, h}, dtype);
  if (parallel.splits_tokens()) w.shard = arena.allocate({r, h}, dtype);
  if (recompute == Recompute::selective) {
    w.norm = arena.allocate({n, h}, dtype);
    w.act = arena.allocate({n, f}, dtype);
  }
  if (recompute == Recompute::full)
    w.recomputed = allocate_stash(config, parallel, Recompute::none, dtype, n, arena);
  if (with_backward) {
    w.hidden = arena.allocate({n, h}, dtype);
    w.ffn = arena.allocate({n, f}, dtype);
    w.attention = arena.allocate({n, heads, config.head_dim()}, dtype);
    w.qkv = arena.allocate({n, 3, heads, config.head_dim()}, dtype);
    // No shorter spans need more: of ours than one of all tokens, of the library's than whole sequences.
    AttentionOptions options;
    options.backend = config.attention;
    const bool own = options.backend == AttentionBackend::own;
    const auto bytes = attention_backward_scratch(w.qkv, own ? equal_spans(1, n) : equal_spans(sequences, n / sequences), options);
    w.scratch = arena.allocate({static_cast<int64_t>(bytes)}, DType::u8);
  }
  return w;
}

size_t TransformerBlock::float8_bytes(const BlockConfig& config, int tp_size, int64_t n) {
  const int64_t h = config.hidden_size, f = config.ffn_hidden_size / tp_size;
  return std::max({triax::float8_bytes(n, h, 3 * h / tp_size), triax::float8_bytes(n, h / tp_size, h), triax::float8_bytes(n, h, f),
                   triax::float8_bytes(n, f, h)});
}

Dropout TransformerBlock::dropout(const TokenLayout& layout, Place place, float probability,
                                  int64_t n) const {
  return {.probability = layout.training ? probability : 0.0f,
          .seed = layout.seed,
          .site = static_cast<uint32_t>(layer_ * 8 + place),
          .step = layout.step,
          .row_offset = layout.first_token + parallel_.first_row(n)};
}

AttentionOptions TransformerBlock::attention_options(const TokenLayout& layout) const {
  AttentionOptions options;
  options.causal = config_.causal;
  options.scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim()));
  options.dropout = dropout(layout, attention_probabilities, config_.attention_dropout, 0);
  options.dropout.row_offset = layout.first_token;
  options.head_offset = config_.num_heads / parallel_.size() * parallel_.rank();
  options.total_heads = config_.num_heads;
  options.max_length = layout.max_length;
  options.backend = config_.attention;
  return options;
}

void TransformerBlock::forward(const Context& context, const TokenLayout& layout,
                               const Tensor& input, const BlockStash& stash,
                               BlockWorkspace& workspace, const Tensor& output) const {
  const BlockStash& kept = stash.qkv.defined() ? stash : workspace.recomputed;
  project_qkv(context, input, kept, workspace);
  attention_forward(context, kept.qkv, layout.spans, attention_options(layout), kept.attention,
                    kept.lse);
  finish(context, layout, input, kept, workspace, output);
}

void TransformerBlock::project_qkv(const Context& context, const Tensor& input,
                                   const BlockStash& stash, BlockWorkspace& workspace) const {
  const Tensor qkv_weight = weight(p_.qkv_weight).reshape({-1, config_.hidden_size});
  const Tensor qkv_bias = weight(p_.qkv_bias).reshape({-1});
  const Tensor full = stash.attention_norm.defined() ? stash.attention_norm : workspace.norm;
  if (config_.post_norm) {
    const Tensor all = parallel_.splits_tokens() ? full : input;
    parallel_.gather(input, all);
    return linear_forward(context, all, qkv_weight, qkv_bias, rows(stash.qkv));
  }
  const Tensor shard = parallel_.splits_tokens() ? workspace.shard : full;
  layernorm_forward(context, input, weight(p_.attention_norm_weight),
                    weight(p_.attention_norm_bias), config_.layernorm_epsilon, shard,
                    stash.attention_norm_mean, stash.attention_norm_rstd);
  parallel_.gather(shard, full);
  linear_forward(context, full, qkv_weight, qkv_bias, rows(stash.qkv));
}

void TransformerBlock::finish(const Context& context, const TokenLayout& layout,
                              const Tensor& input, const BlockStash& stash,
                              BlockWorkspace& workspace, const Tensor& output) const {
  if (config_.post_norm) return finish_post_norm(context, layout, input, stash, workspace, output);
  const int64_t n = stash.qkv.dim(0);
  const bool split = parallel_.splits_tokens();
  const Tensor& partial = workspace.partial;
  const Tensor reduced = split ? workspace.shard : partial;

  linear_forward(context, rows(stash.attention), weight(p_.attention_output_weight), {}, partial);
  parallel_.reduce(partial, reduced);
  bias_dropout_residual_forward(context, reduced, weight(p_.attention_output_bias), input,
                                dropout(layout, attention_output, config_.hidden_dropout, n),
                                stash.residual);

  const Tensor full = stash.mlp_norm.defined() ? stash.mlp_norm : workspace.norm;
  const Tensor shard = split ? workspace.shard : full;
  layernorm_forward(context, stash.residual, weight(p_.mlp_norm_weight), weight(p_.mlp_norm_bias),
                    config_.layernorm_epsilon, shard, stash.mlp_norm_mean, stash.mlp_norm_rstd);
  parallel_.gather(shard, full);
  const Tensor act = stash.mlp_act.defined() ? stash.mlp_act : workspace.act;
  linear_activation_forward(context, full, weight(p_.mlp_up_weight), weight(p_.mlp_up_bias),
                            config_.activation, stash.mlp_pre, act);
  linear_forward(context, act, weight(p_.mlp_down_weight), {}, partial);
  parallel_.reduce(partial, reduced);
  bias_dropout_residual_forward(context, reduced, weight(p_.mlp_down_bias), stash.residual,
                                dropout(layout, mlp_output, config_.hidden_dropout, n), output);
}

void TransformerBlock::finish_post_norm(const Context& context, const TokenLayout& layout, const Tensor& input,
                                        const BlockStash& stash, BlockWorkspace& workspace,
                                        const Tensor& output) const {
  const int64_t n = stash.qkv.dim(0), r = input.dim(0);
  const Tensor& partial = workspace.partial;
  const Tensor reduced = parallel_.splits_tokens() ? workspace.shard : partial;
  linear_forward(context, rows(stash.attention), weight(p_.attention_output_weight), {}, partial);
  parallel_.reduce(partial, reduced);
  bias_dropout_residual_forward(context, reduced, weight(p_.attention_output_bias), input,
                                dropout(layout, attention_output, config_.hidden_dropout, n), stash.residual);
  const Tensor full = stash.mlp_norm.defined() ? stash.mlp_norm : workspace.norm;
  const Tensor y = full.narrow(0, parallel_.first_row(n), r);
  layernorm_forward(context, stash.residual, weight(p_.attention_norm_weight), weight(p_.attention_norm_bias),
                    config_.layernorm_epsilon, y, stash.attention_norm_mean, stash.attention_norm_rstd);
  parallel_.gather(y, full);
  const Tensor act = stash.mlp_act.defined() ? stash.mlp_act : workspace.act;
  linear_activation_forward(context, full, weight(p_.mlp_up_weight), weight(p_.mlp_up_bias), config_.activation,
                            stash.mlp_pre, act);
  linear_forward(context, act, weight(p_.mlp_down_weight), {}, partial);
  parallel_.reduce(partial, reduced);
  bias_dropout_residual_forward(context, reduced, weight(p_.mlp_down_bias), y,
                                dropout(layout, mlp_output, config_.hidden_dropout, n), stash.output_sum);
  layernorm_forward(context, stash.output_sum, weight(p_.mlp_norm_weight), weight(p_.mlp_norm_bias),
                    config_.layernorm_epsilon, output, stash.mlp_norm_mean, stash.mlp_norm_rstd);
}

void TransformerBlock::backward(const Context& context, const TokenLayout& layout, const Tensor& input,
                                const BlockStash& stash, BlockWorkspace& workspace, const Tensor& gradient,
                                const BlockDeferred* deferred) const {
  const bool full = !stash.qkv.defined();
  // The output is not needed a second time: it may overwrite the partial sums it is made from.
  if (full) forward(context, layout, input, stash, workspace, workspace.hidden.narrow(0, 0, input.dim(0)));
  const BlockStash& kept = full ? workspace.recomputed : stash;
  backward_mlp(context, layout, kept, workspace, gradient, deferred);
  backward_attention(context, layout, input, kept, workspace, gradient, deferred);
}

void TransformerBlock::backward_weight(const Context& context, const Tensor& input, const BlockStash& stash,
                                       BlockWorkspace& workspace, const BlockDeferred& deferred) const {
  linear_backward_weight(context, deferred.mlp_output, activation_again(context, stash, workspace),
                         gradient_of(p_.mlp_down_weight), {});
  weight_gradient_of_mlp_up(context, deferred.mlp_pre, mlp_norm_again(context, stash, workspace));
  linear_backward_weight(context, deferred.attention_output, rows(stash.attention),
                         gradient_of(p_.attention_output_weight), {});
  weight_gradient_of_qkv(context, deferred.qkv, attention_norm_again(context, input, stash, workspace));
}

// The output of a norm, as all tokens: kept from forward, or computed (and gathered) again.
Tensor TransformerBlock::norm_again(const Context& context, const Tensor& x, int gamma, int beta,
                                    const Tensor& kept, BlockWorkspace& workspace) const {
  if (kept.defined()) return kept;
  const Tensor shard = parallel_.splits_tokens() ? workspace.shard : workspace.norm;
  layernorm_forward(context, x, weight(gamma), weight(beta), config_.layernorm_epsilon, shard, {}, {});
  parallel_.gather(shard, workspace.norm);
  return workspace.norm;
}

Tensor TransformerBlock::activation_again(const Context& context, const BlockStash& stash,
                                          BlockWorkspace& workspace) const {
  if (stash.mlp_act.defined()) return stash.mlp_act;
  activation_forward(context, config_.activation, stash.mlp_pre, workspace.act);
  return workspace.act;
}

Tensor TransformerBlock::mlp_norm_again(const Context& context, const BlockStash& stash,
                                        BlockWorkspace& workspace) const {
  const int gamma = config_.post_norm ? p_.attention_norm_weight : p_.mlp_norm_weight;
  const int beta = config_.post_norm ? p_.attention_norm_bias : p_.mlp_norm_bias;
  return norm_again(context, stash.residual, gamma, beta, stash.mlp_norm, workspace);
}

Tensor TransformerBlock::attention_norm_again(const Context& context, const Tensor& input, const BlockStash& stash,
                                              BlockWorkspace& workspace) const {
  if (config_.post_norm) {  // no norm stands there, but all tokens are needed
    if (!parallel_.splits_tokens()) return input;
    if (stash.attention_norm.defined()) return stash.attention_norm;
    parallel_.gather(input, workspace.norm);
    return workspace.norm;
  }
  return norm_again(context, input, p_.attention_norm_weight, p_.attention_norm_bias, stash.attention_norm,
                    workspace);
}

void TransformerBlock::weight_gradient_of_mlp_up(const Context& context, const Tensor& dpre, const Tensor& norm) const {
  linear_backward_weight(context, dpre, norm, gradient_of(p_.mlp_up_weight), gradient_of(p_.mlp_up_bias));
}

void TransformerBlock::weight_gradient_of_qkv(const Context& context, const Tensor& dqkv, const Tensor& norm) const {
  linear_backward_weight(context, rows(dqkv), norm, gradient_of(p_.qkv_weight).reshape({-1, config_.hidden_size}),
                         gradient_of(p_.qkv_bias).reshape({-1}));
}

// Gradient of a row-parallel linear's output, for all tokens, in `kept` if that is given. Else, without
// dropout, it is the gradient of the residual stream itself, and no copy is made.
Tensor TransformerBlock::backward_residual(const Context& context, const Dropout& dropout,
                                           const Tensor& gradient, const Tensor& dbias, const Tensor& kept,
                                           BlockWorkspace& workspace) const {
  const bool split = parallel_.splits_tokens();
  const Tensor full = kept.defined() ? kept : workspace.hidden;
  Tensor dshard = gradient;
  if (dropout.active()) dshard = split ? workspace.shard : full;
  bias_dropout_residual_backward(context, gradient, dropout, dropout.active() ? dshard : Tensor{},
                                 dbias);
  parallel_.gather(dshard, full);
  if (split) return full;
  if (kept.defined() && !dropout.active()) convert(context, gradient, kept);
  return kept.defined() ? kept : dshard;
}

// Backward of the norm before a linear whose input gradient is `dnorm`: added to `gradient`. With
// post-LayerNorm nothing stands there, and `dnorm` itself is added.
void TransformerBlock::add_through_norm(const Context& context, const Tensor& dnorm, const Tensor& x, int gamma, int beta,
                                        const Tensor& mean, const Tensor& rstd, const Tensor& gradient) const {
  if (config_.post_norm) return add_scaled(context, 1.0f, dnorm, gradient);
  layernorm_backward(context, dnorm, x, weight(gamma), mean, rstd, gradient, true, gradient_of(gamma), gradient_of(beta));
}

// Post-LayerNorm: `gradient`, that of a norm's output, becomes that of the sum it was made of.
void TransformerBlock::backward_post_norm(const Context& context, const Tensor& sum, int gamma, int beta, const Tensor& mean,
                                          const Tensor& rstd, const Tensor& gradient) const {
  if (!config_.post_norm) return;
  layernorm_backward(context, gradient, sum, weight(gamma), mean, rstd, gradient, false, gradient_of(gamma), gradient_of(beta));
}

// Each linear's backward: the input gradient first, since others wait for it; its reduction over the
// tensor-parallel group is in flight while the weight gradient is computed.
void TransformerBlock::backward_mlp(const Context& context, const TokenLayout& layout,
                                    const BlockStash& stash, BlockWorkspace& workspace, const Tensor& gradient,
                                    const BlockDeferred* deferred) const {
  const int64_t n = stash.qkv.dim(0), r = gradient.dim(0);
  const bool split = parallel_.splits_tokens();
  backward_post_norm(context, stash.output_sum, p_.mlp_norm_weight, p_.mlp_norm_bias, stash.mlp_norm_mean,
                     stash.mlp_norm_rstd, gradient);
  const Tensor dhidden = backward_residual(
      context, dropout(layout, mlp_output, config_.hidden_dropout, n), gradient,
      gradient_of(p_.mlp_down_bias), deferred ? deferred->mlp_output : Tensor{}, workspace);
  const Tensor dpre = deferred ? deferred->mlp_pre : workspace.ffn;

  if (!deferred)
    linear_backward_weight(context, dhidden, activation_again(context, stash, workspace),
                           gradient_of(p_.mlp_down_weight), {});
  linear_activation_backward_input(context, dhidden, weight(p_.mlp_down_weight), stash.mlp_pre,
                                   config_.activation, dpre);
  linear_backward_input(context, dpre, weight(p_.mlp_up_weight), workspace.partial);

  // Before the reduction starts: a norm that is computed again uses the memory that it goes to.
  const Tensor norm = deferred ? Tensor{} : mlp_norm_again(context, stash, workspace);
  const Tensor dnorm = split ? workspace.shard : workspace.partial;
  Request reduction = parallel_.start_reduce(workspace.partial, dnorm);
  if (!deferred) weight_gradient_of_mlp_up(context, dpre, norm);
  reduction.wait();
  add_through_norm(context, dnorm.narrow(0, 0, r), stash.residual, p_.mlp_norm_weight, p_.mlp_norm_bias,
                   stash.mlp_norm_mean, stash.mlp_norm_rstd, gradient);
}

void TransformerBlock::backward_attention(const Context& context, const TokenLayout& layout,
                                          const Tensor& input, const BlockStash& stash, BlockWorkspace& workspace,
                                          const Tensor& gradient, const BlockDeferred* deferred) const {
  const int64_t n = stash.qkv.dim(0), r = gradient.dim(0), h = config_.hidden_size;
  const bool split = parallel_.splits_tokens();
  backward_post_norm(context, stash.residual, p_.attention_norm_weight, p_.attention_norm_bias, stash.attention_norm_mean,
                     stash.attention_norm_rstd, gradient);
  const Tensor dhidden = backward_residual(
      context, dropout(layout, attention_output, config_.hidden_dropout, n), gradient,
      gradient_of(p_.attention_output_bias), deferred ? deferred->attention_output : Tensor{}, workspace);
  const Tensor dqkv = deferred ? deferred->qkv : workspace.qkv;
  linear_backward_input(context, dhidden, weight(p_.attention_output_weight),
                        rows(workspace.attention));
  if (!deferred)
    linear_backward_weight(context, dhidden, rows(stash.attention),
                           gradient_of(p_.attention_output_weight), {});
  attention_backward(context, workspace.attention, stash.qkv, stash.attention, stash.lse,
                     layout.spans, attention_options(layout), dqkv, workspace.scratch);

  linear_backward_input(context, rows(dqkv), weight(p_.qkv_weight).reshape({-1, h}), workspace.partial);
  const Tensor norm = deferred ? Tensor{} : attention_norm_again(context, input, stash, workspace);
  const Tensor dnorm = split ? workspace.shard : workspace.partial;
  Request reduction = parallel_.start_reduce(workspace.partial, dnorm);
  if (!deferred) weight_gradient_of_qkv(context, dqkv, norm);
  reduction.wait();
  add_through_norm(context, dnorm.narrow(0, 0, r), input, p_.attention_norm_weight, p_.attention_norm_bias,
                   stash.attention_norm_mean, stash.attention_norm_rstd, gradient);
}

}  // namespace triax
