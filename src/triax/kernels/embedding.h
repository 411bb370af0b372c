// Token and position embeddings. Tables f32, bf16 or f16 (the compute type of out); gradients f32.
#pragma once

#include "triax/base/rng.h"
#include "triax/kernels/context.h"

namespace triax {

// out [n, h] = table[ids - vocab_start] for ids in this rank's slice [vocab_start, vocab_start +
// table rows), zero elsewhere (vocabulary-parallel: the slices' outputs add up).
void embedding_forward(const Context& context, const Tensor& ids, const Tensor& table,
                       int64_t vocab_start, const Tensor& out);
// dtable[ids - vocab_start] += dout, in the order of the tokens: deterministic.
void embedding_backward(const Context& context, const Tensor& dout, const Tensor& ids,
                        int64_t vocab_start, const Tensor& dtable);

// table[rows - first_row] = values [m, h], or += with `accumulate`, for those rows that the table has; no row is given
// twice. One compute type.
void scatter_rows(const Context& context, const Tensor& values, const Tensor& rows, int64_t first_row, bool accumulate,
                  const Tensor& table);

// x [n, h] = dropout(x + table[positions]), in place; positions i32 [n].
void position_dropout_forward(const Context& context, const Tensor& positions, const Tensor& table,
                              const Dropout& dropout, const Tensor& x);
// dx [n, h] *= mask, in place; dtable[positions] += dx.
void position_dropout_backward(const Context& context, const Tensor& positions,
                               const Dropout& dropout, const Tensor& dx, const Tensor& dtable);

}  // namespace triax
