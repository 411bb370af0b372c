#include "triax/kernels/embedding.h"

#include "triax/base/error.h"
#include "triax/kernels/checks.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/dispatch.h"

namespace triax {
namespace {

void require_activations(const Context& context, const Argument& argument, int64_t n) {
  const Tensor& tensor = argument.tensor;
  require_compute_type(argument);
  require_rows(argument);
  require(context, argument, {n, tensor.dim(1)}, tensor.dtype());
}

void require_table(const Context& context, const Argument& argument, int64_t h, DType dtype) {
  require_rows(argument);
  require(context, argument, {argument.tensor.dim(0), h}, dtype);
}

void require_dropout(std::string_view op, const Dropout& dropout) {
  check(dropout.probability >= 0.0f && dropout.probability < 1.0f,
        "{}: the dropout probability must be in [0, 1), not {}", op, dropout.probability);
}

}  // namespace

void embedding_forward(const Context& context, const Tensor& ids, const Tensor& table,
                       int64_t vocab_start, const Tensor& out) {
  constexpr auto op = "embedding_forward";
  require(context, {op, "ids", ids}, {ids.numel()}, DType::i32);
  require_activations(context, {op, "out", out}, ids.numel());
  require_table(context, {op, "table", table}, out.dim(1), out.dtype());
  dispatch(context, op, cpu::embedding_forward, &DeviceOperations::embedding_forward, ids, table, vocab_start, out);
}

void embedding_backward(const Context& context, const Tensor& dout, const Tensor& ids,
                        int64_t vocab_start, const Tensor& dtable) {
  constexpr auto op = "embedding_backward";
  require(context, {op, "ids", ids}, {ids.numel()}, DType::i32);
  require_activations(context, {op, "dout", dout}, ids.numel());
  require_table(context, {op, "dtable", dtable}, dout.dim(1), DType::f32);
  dispatch(context, op, cpu::embedding_backward, &DeviceOperations::embedding_backward, dout, ids, vocab_start, dtable);
}

void scatter_rows(const Context& context, const Tensor& values, const Tensor& rows, int64_t first_row, bool accumulate,
                  const Tensor& table) {
  constexpr auto op = "scatter_rows";
  require(context, {op, "rows", rows}, {rows.numel()}, DType::i32);
  require_activations(context, {op, "values", values}, rows.numel());
  require_table(context, {op, "table", table}, values.dim(1), values.dtype());
  dispatch(context, op, cpu::scatter_rows, &DeviceOperations::scatter_rows, values, rows, first_row, accumulate, table);
}

void position_dropout_forward(const Context& context, const Tensor& positions, const Tensor& table,
                              const Dropout& dropout, const Tensor& x) {
  constexpr auto op = "position_dropout_forward";
  require(context, {op, "positions", positions}, {positions.numel()}, DType::i32);
  require_activations(context, {op, "x", x}, positions.numel());
  require_table(context, {op, "table", table}, x.dim(1), x.dtype());
  require_dropout(op, dropout);
  dispatch(context, op, cpu::position_dropout_forward, &DeviceOperations::position_dropout_forward, positions, table, dropout, x);
}

void position_dropout_backward(const Context& context, const Tensor& positions,
                               const Dropout& dropout, const Tensor& dx, const Tensor& dtable) {
  constexpr auto op = "position_dropout_backward";
  require(context, {op, "positions", positions}, {positions.numel()}, DType::i32);
  require_activations(context, {op, "dx", dx}, positions.numel());
  require_table(context, {op, "dtable", dtable}, dx.dim(1), DType::f32);
  require_dropout(op, dropout);
  dispatch(context, op, cpu::position_dropout_backward, &DeviceOperations::position_dropout_backward, positions, dropout, dx, dtable);
}

}  // namespace triax
