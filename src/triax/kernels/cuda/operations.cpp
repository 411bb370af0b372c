// The operations on a GPU but for products and attention, and the table of all: what kernels of launch.h each is made of.
#include "triax/kernels/cuda/operations.h"

#if defined(TRIAX_CUDA) || defined(TRIAX_CUDA_ON_HOST)

#include "triax/kernels/cpu/adamw_factors.h"
#include "triax/kernels/cuda/operands.h"

namespace triax::TRIAX_GPU {
namespace on_gpu {

// ---- element by element

void activation_forward(const Context& context, Activation activation, const Tensor& x, const Tensor& y) {
  const Area area = flat_or_rows({&x, &y});
  if (!is_empty(area))
    TRIAX_GPU::activation_forward(stream_of(context), type_of(x), activation == Activation::gelu_erf, area, matrix(x), matrix(y));
}

void activation_backward(const Context& context, Activation activation, const Tensor& x, const Tensor& dy, const Tensor& dx) {
  const Area area = flat_or_rows({&x, &dy, &dx});
  if (!is_empty(area))
    TRIAX_GPU::activation_backward(stream_of(context), type_of(x), activation == Activation::gelu_erf, area, matrix(x),
                                   matrix(dy), matrix(dx));
}

void tanh_forward(const Context& context, const Tensor& x, const Tensor& y) {
  const Area area = flat_or_rows({&x, &y});
  if (!is_empty(area)) TRIAX_GPU::tanh_forward(stream_of(context), type_of(x), area, matrix(x), matrix(y));
}

void tanh_backward(const Context& context, const Tensor& y, const Tensor& dy, const Tensor& dx) {
  const Area area = flat_or_rows({&y, &dy, &dx});
  if (!is_empty(area)) TRIAX_GPU::tanh_backward(stream_of(context), type_of(y), area, matrix(y), matrix(dy), matrix(dx));
}

void bias_dropout_residual_forward(const Context& context, const Tensor& x, const Tensor& bias, const Tensor& residual,
                                   const Dropout& dropout, const Tensor& out) {
  const Area area = rows_of({&x, &bias, &residual, &out});
  if (is_empty(area)) return;
  dropout_add(stream_of(context), type_of(x), area,
              {.x = matrix(x), .table = {}, .residual = matrix(residual), .out = matrix(out), .bias = floats(bias),
               .mask = mask_of(dropout, area.cols)});
}

void bias_dropout_residual_backward(const Context& context, const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                    const Tensor& dbias) {
  const Area area = rows_of({&dout, &dx});
  if (is_empty(area)) return;
  const Mask mask = mask_of(dropout, area.cols);
  const Tensor& written = dx.raw() == dout.raw() && !dropout.active() ? Tensor{} : dx;
  if (dbias.defined())
    return TRIAX_GPU::add_column_sums(stream_of(context), scratch_of(context, "bias_dropout_residual_backward", dbias.bytes()),
                                      type_of(dout), area, matrix(dout), mask, matrix(written), dbias.data<float>());
  if (written.defined())
    dropout_add(stream_of(context), type_of(dout), area,
                {.x = matrix(dout), .table = {}, .residual = {}, .out = matrix(dx), .mask = mask});
}

void convert(const Context& context, const Tensor& src, const Tensor& dst) {
  const Area area = flat_or_rows({&src, &dst});
  if (!is_empty(area)) TRIAX_GPU::convert(stream_of(context), type_of(src), type_of(dst), area, matrix(src), matrix(dst));
}

void fill(const Context& context, const Tensor& x, float value) {
  const Area area = flat_or_rows({&x});
  if (!is_empty(area)) TRIAX_GPU::fill(stream_of(context), type_of(x), area, matrix(x), value);
}

void add_scaled(const Context& context, float alpha, const Tensor& x, const Tensor& y) {
  const Area area = flat_or_rows({&x, &y});
  if (!is_empty(area)) TRIAX_GPU::add_scaled(stream_of(context), type_of(x), area, alpha, matrix(x), matrix(y));
}

void scale(const Context& context, float alpha, const Tensor& x) {
  const Area area = flat_or_rows({&x});
  if (!is_empty(area)) TRIAX_GPU::scale(stream_of(context), type_of(x), area, alpha, matrix(x));
}

// At most so many at a time; their results come first in the scratch.
constexpr size_t kMostSums = 512;

void sums_of_squares(const Context& context, std::span<const Tensor> xs, std::span<double> sums) {
  auto* results = static_cast<double*>(context.queue->scratch);
  for (size_t first = 0; first < xs.size(); first += kMostSums) {
    const size_t count = std::min(kMostSums, xs.size() - first);
    for (size_t i = 0; i < count; ++i) {
      const Tensor& x = xs[first + i];
      const Area area = flat_or_rows({&x});
      Scratch scratch = scratch_of(context, "sums_of_squares", kMostSums * sizeof(double) + sum_of_squares_scratch(area));
      scratch.data = results + kMostSums;
      TRIAX_GPU::sum_of_squares(stream_of(context), scratch, type_of(x), area, matrix(x), results + i);
    }
    context.queue->read(results, sums.subspan(first, count));
  }
}

double sum_of_squares(const Context& context, const Tensor& x) {
  double sum = 0;
  on_gpu::sums_of_squares(context, {&x, 1}, {&sum, 1});
  return sum;
}

void adamw_update(const Context& context, const AdamWStep& step, std::span<const triax::AdamWRange> ranges) {
  AdamWRanges some;
  AdamW factors{};
  const auto flush = [&] {
    if (some.count > 0) TRIAX_GPU::adamw_update(stream_of(context), factors, some);
    some.count = 0;
  };
  for (const triax::AdamWRange& range : ranges) {
    if (range.param.numel() == 0) continue;
    const cpu::AdamWFactors f = cpu::adamw_factors(step, range);
    factors = {f.beta1, f.beta2, f.grad1, f.grad2, f.gradient_scale, f.root, f.epsilon, step.seed, static_cast<uint32_t>(step.step)};
    const RoundingPlace place = step.stochastic_rounding ? range.place : RoundingPlace{};
    const auto tensors = {&range.param, &range.grad, &range.m, &range.v, &range.copy};
    some.range[some.count++] = {.keep = f.keep, .rate = f.rate, .count = range.param.numel(), .param = mutable_floats(range.param),
                                .grad = floats(range.grad), .m = mutable_floats(range.m), .v = mutable_floats(range.v),
                                .copy = range.copy.raw(), .copy_type = type_of(range.copy),
                                .vector = std::ranges::all_of(tensors, [](const Tensor* t) { return is_aligned(*t); }),
                                .place = {place.stream, place.first, place.width, place.global_width, place.offset}};
    if (some.count == kMaxRanges) flush();
  }
  flush();
}

// ---- rows

void layernorm_forward(const Context& context, const Tensor& x, const Tensor& gamma, const Tensor& beta, float epsilon,
                       const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  const Area area = rows_of({&x, &y, &gamma, &beta});
  if (!is_empty(area))
    TRIAX_GPU::layernorm_forward(stream_of(context), type_of(x), area, matrix(x), floats(gamma), floats(beta), epsilon,
                                 matrix(y), mutable_floats(mean), mutable_floats(rstd));
}

void layernorm_backward(const Context& context, const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                        const Tensor& rstd, const Tensor& dx, bool accumulate, const Tensor& dgamma, const Tensor& dbeta) {
  const Area area = rows_of({&dy, &x, &dx, &gamma});
  if (is_empty(area)) return;
  TRIAX_GPU::layernorm_backward(stream_of(context), scratch_of(context, "layernorm_backward", layernorm_backward_scratch(area)), type_of(x),
                                area,
                                {.dy = matrix(dy), .x = matrix(x), .dx = matrix(dx), .gamma = floats(gamma),
                                 .mean = floats(mean), .rstd = floats(rstd), .accumulate = accumulate,
                                 .dgamma = mutable_floats(dgamma), .dbeta = mutable_floats(dbeta)});
}

void embedding_forward(const Context& context, const Tensor& ids, const Tensor& table, int64_t vocab_start, const Tensor& out) {
  const Area area = rows_of({&out, &table});
  if (!is_empty(area))
    TRIAX_GPU::embedding_forward(stream_of(context), type_of(out), area, ids.data<int32_t>(), matrix(table), vocab_start,
                                 table.dim(0), matrix(out));
}

void embedding_backward(const Context& context, const Tensor& dout, const Tensor& ids, int64_t vocab_start,
                        const Tensor& dtable) {
  const Area area = rows_of({&dout});
  if (is_empty(area)) return;
  TRIAX_GPU::embedding_backward(stream_of(context),
                                scratch_of(context, "embedding_backward", embedding_backward_scratch(area.rows)),
                                type_of(dout), area, matrix(dout), ids.data<int32_t>(), vocab_start, dtable.dim(0),
                                dtable.data<float>(), dtable.stride(0));
}

void scatter_rows(const Context& context, const Tensor& values, const Tensor& rows, int64_t first_row, bool accumulate,
                  const Tensor& table) {
  const Area area = rows_of({&values, &table});
  if (!is_empty(area))
    TRIAX_GPU::scatter_rows(stream_of(context), type_of(values), area, matrix(values), rows.data<int32_t>(), first_row,
                            table.dim(0), accumulate, matrix(table));
}

void position_dropout_forward(const Context& context, const Tensor& positions, const Tensor& table, const Dropout& dropout,
                              const Tensor& x) {
  const Area area = rows_of({&x, &table});
  if (is_empty(area)) return;
  dropout_add(stream_of(context), type_of(x), area,
              {.x = matrix(x), .table = matrix(table), .residual = {}, .out = matrix(x),
               .positions = positions.data<int32_t>(), .positions_end = table.dim(0), .mask = mask_of(dropout, area.cols)});
}

void position_dropout_backward(const Context& context, const Tensor& positions, const Dropout& dropout, const Tensor& dx,
                               const Tensor& dtable) {
  if (dropout.active()) on_gpu::bias_dropout_residual_backward(context, dx, dropout, dx, {});
  on_gpu::embedding_backward(context, dx, positions, 0, dtable);
}

// ---- cross-entropy

static Vocabulary vocabulary_of(const Tensor& logits, int64_t start, int64_t size) {
  return {start, std::clamp<int64_t>(size - start, 0, logits.dim(1))};
}

void softmax_statistics(const Context& context, const Tensor& logits, const Tensor& targets, int64_t vocab_start,
                        int64_t vocab_size, const Tensor& row_max, const Tensor& row_sum, const Tensor& target_logit) {
  const Area area = rows_of({&logits});
  if (area.rows > 0)
    TRIAX_GPU::softmax_statistics(stream_of(context), type_of(logits), area, matrix(logits), targets.data<int32_t>(),
                                  vocabulary_of(logits, vocab_start, vocab_size), row_max.data<float>(), row_sum.data<float>(),
                                  target_logit.data<float>());
}

void cross_entropy_backward(const Context& context, const Tensor& logits, const Tensor& targets, int64_t vocab_start,
                            int64_t vocab_size, const Tensor& lse, const Tensor& weight) {
  const Area area = rows_of({&logits});
  if (!is_empty(area))
    TRIAX_GPU::cross_entropy_backward(stream_of(context), type_of(logits), area, matrix(logits), targets.data<int32_t>(),
                                      vocabulary_of(logits, vocab_start, vocab_size), lse.data<float>(), weight.data<float>());
}

void rescale_sums(const Context& context, const Tensor& from, const Tensor& to, const Tensor& row_sum) {
  if (from.numel() > 0)
    TRIAX_GPU::rescale_sums(stream_of(context), from.numel(), from.data<float>(), to.data<float>(), row_sum.data<float>());
}

void token_losses(const Context& context, const Tensor& row_max, const Tensor& row_sum, const Tensor& target_logit,
                  const Tensor& weight, float loss_scale, const Tensor& losses) {
  if (losses.numel() > 0)
    TRIAX_GPU::token_losses(stream_of(context), losses.numel(), row_max.data<float>(), row_sum.data<float>(),
                            target_logit.data<float>(), weight.data<float>(), loss_scale, losses.data<float>());
}

double weighted_sum(const Context& context, const Tensor& weights, const Tensor& values) {
  if (values.numel() == 0) return 0;
  const Scratch scratch = scratch_of(context, "weighted_sum", sizeof(double));
  TRIAX_GPU::weighted_sum(stream_of(context), scratch, values.numel(), weights.data<float>(), values.data<float>());
  double sum = 0;
  context.queue->read(scratch.data, {&sum, 1});
  return sum;
}

}  // namespace on_gpu

const DeviceOperations& operations() {
  static constexpr DeviceOperations all{
      .adamw_update = &on_gpu::adamw_update,
      .attention_forward = &on_gpu::attention_forward,
      .attention_backward = &on_gpu::attention_backward,
      .attention_decode = &on_gpu::attention_decode,
      .softmax_statistics = &on_gpu::softmax_statistics,
      .cross_entropy_backward = &on_gpu::cross_entropy_backward,
      .rescale_sums = &on_gpu::rescale_sums,
      .token_losses = &on_gpu::token_losses,
      .weighted_sum = &on_gpu::weighted_sum,
      .activation_forward = &on_gpu::activation_forward,
      .activation_backward = &on_gpu::activation_backward,
      .tanh_forward = &on_gpu::tanh_forward,
      .tanh_backward = &on_gpu::tanh_backward,
      .bias_dropout_residual_forward = &on_gpu::bias_dropout_residual_forward,
      .bias_dropout_residual_backward = &on_gpu::bias_dropout_residual_backward,
      .convert = &on_gpu::convert,
      .fill = &on_gpu::fill,
      .add_scaled = &on_gpu::add_scaled,
      .scale = &on_gpu::scale,
      .sum_of_squares = &on_gpu::sum_of_squares,
      .sums_of_squares = &on_gpu::sums_of_squares,
      .embedding_forward = &on_gpu::embedding_forward,
      .embedding_backward = &on_gpu::embedding_backward,
      .scatter_rows = &on_gpu::scatter_rows,
      .position_dropout_forward = &on_gpu::position_dropout_forward,
      .position_dropout_backward = &on_gpu::position_dropout_backward,
      .layernorm_forward = &on_gpu::layernorm_forward,
      .layernorm_backward = &on_gpu::layernorm_backward,
      .linear_forward = &on_gpu::linear_forward,
      .linear_activation_forward = &on_gpu::linear_activation_forward,
      .linear_backward_input = &on_gpu::linear_backward_input,
      .linear_activation_backward_input = &on_gpu::linear_activation_backward_input,
      .linear_backward_weight = &on_gpu::linear_backward_weight,
      .gemm = &on_gpu::gemm,
      .quantize = &on_gpu::quantize,
  };
  return all;
}

}  // namespace triax::TRIAX_GPU

#endif
