// The language-model head: logits, softmax cross-entropy and their gradients in one pass over chunks of
// tokens, so that logits exist for one chunk at a time. Split over the vocabulary between
// tensor-parallel ranks, which exchange three numbers a token (Shoeybi et al. 2019, section 3).
#pragma once

#include "triax/kernels/context.h"
#include "triax/nn/tensor_parallel.h"
#include "triax/tensor/arena.h"

namespace triax {

struct LmHeadWorkspace {
  Tensor logits;                              // [chunk, v']
  Tensor row_max, local_max, row_sum, target; // f32 [chunk]
  Tensor losses;                              // f32 [n]
};

class LmHead {
 public:
  // vocab_size counts real tokens; the table's rows beyond it are padding and take no part.
  LmHead(int64_t hidden_size, int64_t vocab_size, int64_t padded_vocab_size,
         const TensorParallel& parallel)
      : hidden_size_(hidden_size),
        vocab_size_(vocab_size),
        local_vocab_(padded_vocab_size / parallel.size()),
        parallel_(parallel) {}

  // Tokens a chunk: as many as keep its logits within about 64 MiB, at least 128.
  static int64_t chunk_tokens(int64_t local_vocab, DType dtype, int64_t n);
  LmHeadWorkspace allocate_workspace(DType dtype, int64_t n, Arena& arena) const;

  struct Gradients {
    Tensor dhidden;  // [n, h] this rank's part of the gradient, to be summed; may be `hidden` itself
    Tensor dtable;   // f32 [v', h], added to
    Tensor dbias = {};  // f32 [v'], added to; of a head with a bias
  };
  // Sum over tokens of weight[i] * cross-entropy(hidden[i] table^T, targets[i]), the same on every
  // rank of the group. With `gradients`, computes those of that sum, scaled by `loss_scale`.
  // `losses` [n] f32, if defined, receives the unweighted loss of each token. `bias` [v'] f32, if defined,
  // is added to the logits.
  double loss(const Context& context, const Tensor& hidden, const Tensor& table,
              const Tensor& targets, const Tensor& weights, float loss_scale,
              LmHeadWorkspace& workspace, const Gradients* gradients, const Tensor& losses,
              const Tensor& bias = {}) const;

  int64_t vocab_start() const { return local_vocab_ * parallel_.rank(); }

 private:
  void statistics_over_group(const Context& context, const LmHeadWorkspace& w) const;
  int64_t hidden_size_, vocab_size_, local_vocab_;
  TensorParallel parallel_;
};

}  // namespace triax
