// One transformer layer, forward and backward by hand: pre-LayerNorm (GPT-2; Megatron's BERT)
//
//   y   = x + dropout(attention(norm(x)) Wo^T + bo)
//   out = y + dropout(act(norm(y) Wu^T + bu) Wd^T + bd)
//
// or post-LayerNorm (the original transformer and BERT)
//
//   y   = norm(x + dropout(attention(x) Wo^T + bo))
//   out = norm(y + dropout(act(y Wu^T + bu) Wd^T + bd))
//
// split over tensor-parallel ranks by heads and by columns of the MLP (Shoeybi et al. 2019, section 3).
// Shapes: n tokens of the micro-batch, r = n (or n / t with sequence parallelism) rows of the residual
// stream, h hidden, a heads, d = h / a, f MLP width; a' = a / t and f' = f / t are this rank's.
#pragma once

#include <span>
#include <string_view>

#include "triax/kernels/attention.h"
#include "triax/kernels/linear.h"
#include "triax/nn/parameters.h"
#include "triax/nn/tensor_parallel.h"

namespace triax {

// What backward finds from forward, and what it computes again (Korthikanti et al. 2022, section 5).
// Attention never keeps its s x s matrices in any of them.
enum class Recompute {
  none,       // keep every input of a matrix product:      (3 h + 3 h + h + h + h + 2 f) a token
  selective,  // compute both norms and the activation again: saves 2 h + f a token for ~1 % time
  full        // keep the layer's input only: saves all but h, at the price of one more forward
};
inline std::string_view name_of(Recompute recompute) {
  return recompute == Recompute::full ? "full" : recompute == Recompute::selective ? "selective" : "none";
}

struct BlockConfig {
  int64_t hidden_size = 0, num_heads = 0, ffn_hidden_size = 0;
  float layernorm_epsilon = 1e-5f;
  Activation activation = Activation::gelu_tanh;
  bool causal = true;
  bool post_norm = false;
  float hidden_dropout = 0, attention_dropout = 0;
  float init_std = 0.02f, output_init_std = 0.02f;
  AttentionBackend attention = AttentionBackend::own;

  int64_t head_dim() const { return hidden_size / num_heads; }
};

// Indices into the ParameterTable.
struct BlockParameters {
  int attention_norm_weight, attention_norm_bias, qkv_weight, qkv_bias, attention_output_weight,
      attention_output_bias, mlp_norm_weight, mlp_norm_bias, mlp_up_weight, mlp_up_bias,
      mlp_down_weight, mlp_down_bias;
};

// Declares layer `layer` ("layers.<layer>....") as rank `tp_rank` of `tp_size` holds it.
BlockParameters declare_block(const BlockConfig& config, int64_t layer, int tp_rank, int tp_size,
                              ParameterTable& table);

// The tokens of one micro-batch as attention and dropout see them.
struct TokenLayout {
  std::span<const Span> spans;
  int64_t max_length = 0;   // of a span, over all micro-batches
  int64_t first_token = 0;  // number of the first token within the step's global batch
  uint64_t seed = 0;
  uint32_t step = 0;
  bool training = true;  // false: no dropout
};

// What forward leaves for backward. Which tensors are there depends on Recompute, and what is not there is
// computed again: micro-batches of one layer may differ in it.
struct BlockStash {
  Tensor attention_norm_mean, attention_norm_rstd;  // f32 [r]
  Tensor attention_norm;                            // [n, h]    none only; post-LayerNorm: the input, where tokens are split
  Tensor qkv;                                       // [n, 3, a', d]
  Tensor attention;                                 // [n, a', d]
  Tensor lse;                                       // f32 [a', n]
  Tensor residual;                                  // [r, h]  y above; post-LayerNorm: what y is the norm of
  Tensor mlp_norm_mean, mlp_norm_rstd;              // f32 [r]
  Tensor mlp_norm;                                  // [n, h]    none only; post-LayerNorm: y
  Tensor output_sum;                                // [r, h]  post-LayerNorm: what the output is the norm of
  Tensor mlp_pre;                                   // [n, f']
  Tensor mlp_act;                                   // [n, f']   none only
};

// Backward in two parts (Qi et al. 2023): what the first leaves for the second, the gradients of the outputs
// of the four linears. They wait together with the stash.
struct BlockDeferred {
  Tensor mlp_output, attention_output;  // [n, h]
  Tensor mlp_pre;                       // [n, f']
  Tensor qkv;                           // [n, 3, a', d]
};

// Temporaries of one layer's forward or backward, shared by all layers of a rank.
struct BlockWorkspace {
  Tensor partial;          // [n, h]  output of a row-parallel linear, before the reduction
  Tensor hidden;           // [n, h]  gradient entering a row-parallel linear
  Tensor norm;             // [n, h]  recomputed norm
  Tensor shard;            // [r, h]  norm before the gather (sequence parallelism only)
  Tensor act, ffn;         // [n, f'] recomputed activation; gradient of the pre-activation
  Tensor attention;        // [n, a', d] gradient of the attention output
  Tensor qkv;              // [n, 3, a', d] its gradient
  Tensor scratch;          // of attention_backward
  BlockStash recomputed;   // full recomputation only
};

class TransformerBlock {
 public:
  TransformerBlock(const BlockConfig& config, int64_t layer, BlockParameters indices,
                   const Parameters& parameters, const TensorParallel& parallel);

  // What one micro-batch of n tokens (in so many sequences) keeps (empty tensors with full recomputation), and the
  // temporaries. All work on a measuring arena.
  static BlockStash allocate_stash(const BlockConfig& config, const TensorParallel& parallel,
                                   Recompute recompute, DType dtype, int64_t n, Arena& arena);
  static BlockDeferred allocate_deferred(const BlockConfig& config, const TensorParallel& parallel,
                                         DType dtype, int64_t n, Arena& arena);
  static BlockWorkspace allocate_workspace(const BlockConfig& config,
                                           const TensorParallel& parallel, Recompute recompute,
                                           DType dtype, int64_t n, int64_t sequences,
                                           bool with_backward, Arena& arena);

  // Bytes for the operands of any of its products in FP8 (kernels/float8.h), on one of tp_size ranks.
  static size_t float8_bytes(const BlockConfig& config, int tp_size, int64_t n);

  // output [r, h] from input [r, h]. The input must stay as it is until backward.
  void forward(const Context& context, const TokenLayout& layout, const Tensor& input,
               const BlockStash& stash, BlockWorkspace& workspace, const Tensor& output) const;

  // gradient [r, h]: of the output on entry, of the input on return. Parameter gradients are added
  // to the parameters' gradient buffer: all of them, or with `deferred` all but those of the linears'
  // weights (and of the biases that come with them), which backward_weight() adds later. Full
  // recomputation cannot defer: what the second part needs is gone.
  void backward(const Context& context, const TokenLayout& layout, const Tensor& input,
                const BlockStash& stash, BlockWorkspace& workspace, const Tensor& gradient,
                const BlockDeferred* deferred = nullptr) const;
  void backward_weight(const Context& context, const Tensor& input, const BlockStash& stash,
                       BlockWorkspace& workspace, const BlockDeferred& deferred) const;

  // The pieces of forward, for generation, which replaces the attention between them.
  void project_qkv(const Context& context, const Tensor& input, const BlockStash& stash,
                   BlockWorkspace& workspace) const;
  void finish(const Context& context, const TokenLayout& layout, const Tensor& input,
              const BlockStash& stash, BlockWorkspace& workspace, const Tensor& output) const;

 private:
  enum Place { attention_probabilities, attention_output, mlp_output };
  Dropout dropout(const TokenLayout& layout, Place place, float probability, int64_t n) const;
  AttentionOptions attention_options(const TokenLayout& layout) const;
  void finish_post_norm(const Context& context, const TokenLayout& layout, const Tensor& input,
                        const BlockStash& stash, BlockWorkspace& workspace, const Tensor& output) const;
  void add_through_norm(const Context& context, const Tensor& dnorm, const Tensor& x, int gamma, int beta,
                        const Tensor& mean, const Tensor& rstd, const Tensor& gradient) const;
  void backward_post_norm(const Context& context, const Tensor& sum, int gamma, int beta, const Tensor& mean,
                          const Tensor& rstd, const Tensor& gradient) const;
  void backward_mlp(const Context& context, const TokenLayout& layout, const BlockStash& stash,
                    BlockWorkspace& workspace, const Tensor& gradient, const BlockDeferred* deferred) const;
  void backward_attention(const Context& context, const TokenLayout& layout, const Tensor& input,
                          const BlockStash& stash, BlockWorkspace& workspace, const Tensor& gradient,
                          const BlockDeferred* deferred) const;
  Tensor backward_residual(const Context& context, const Dropout& dropout, const Tensor& gradient,
                           const Tensor& dbias, const Tensor& kept, BlockWorkspace& workspace) const;
  Tensor activation_again(const Context& context, const BlockStash& stash, BlockWorkspace& workspace) const;
  Tensor mlp_norm_again(const Context& context, const BlockStash& stash, BlockWorkspace& workspace) const;
  Tensor attention_norm_again(const Context& context, const Tensor& input, const BlockStash& stash,
                              BlockWorkspace& workspace) const;
  void weight_gradient_of_mlp_up(const Context& context, const Tensor& dpre, const Tensor& norm) const;
  void weight_gradient_of_qkv(const Context& context, const Tensor& dqkv, const Tensor& norm) const;
  Tensor norm_again(const Context& context, const Tensor& x, int weight, int bias,
                    const Tensor& kept, BlockWorkspace& workspace) const;
  Tensor weight(int index) const { return parameters_->weight(index); }
  Tensor gradient_of(int index) const { return parameters_->gradient(index); }

  BlockConfig config_;
  int64_t layer_;
  BlockParameters p_;
  const Parameters* parameters_;
  TensorParallel parallel_;
};

}  // namespace triax
