// The operations on a GPU: what kernels of launch.h, and which matrix products, each is made of.
#include "triax/kernels/cuda/operations.h"

#if defined(TRIAX_CUDA) || defined(TRIAX_CUDA_ON_HOST)

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <vector>

#include "triax/base/error.h"
#include "triax/kernels/cpu/adamw_factors.h"
#include "triax/kernels/device_queue.h"

namespace triax::TRIAX_GPU {
namespace {

Type type_of(DType dtype) { return dtype == DType::f32 ? Type::f32 : dtype == DType::bf16 ? Type::bf16 : Type::f16; }
Type type_of(const Tensor& tensor) { return type_of(tensor.dtype()); }

void* stream_of(const Context& context) { return context.queue->stream; }
Scratch scratch_of(const Context& context, std::string_view operation, size_t needed) {
  check(needed <= context.queue->scratch_bytes, "{} needs {} bytes of scratch on the GPU, more than the {} there are", operation,
        needed, context.queue->scratch_bytes);
  return {context.queue->scratch, context.queue->scratch_bytes};
}

Matrix matrix(const Tensor& tensor) {
  return {tensor.raw(), tensor.defined() && tensor.rank() == 2 ? tensor.stride(0) : 0};
}
const float* floats(const Tensor& tensor) { return tensor.defined() ? tensor.data<float>() : nullptr; }
float* mutable_floats(const Tensor& tensor) { return tensor.defined() ? tensor.data<float>() : nullptr; }

bool is_aligned(const Tensor& tensor) {
  if (reinterpret_cast<uintptr_t>(tensor.raw()) % 16 != 0) return false;
  if (tensor.rank() != 2 || tensor.dim(0) <= 1) return true;
  return static_cast<size_t>(tensor.stride(0)) * size_of(tensor.dtype()) % 16 == 0;
}

// The rows of matrices of one shape; vectors of their columns may be among them. Undefined tensors are left out.
Area rows_of(std::initializer_list<const Tensor*> tensors) {
  const Tensor& first = **tensors.begin();
  const bool vector = std::ranges::all_of(tensors, [](const Tensor* t) { return !t->defined() || is_aligned(*t); });
  return {first.dim(0), first.dim(1), vector};
}

// Tensors of one shape as one row, where all are contiguous.
Area flat_or_rows(std::initializer_list<const Tensor*> tensors) {
  const bool flat = std::ranges::all_of(tensors, [](const Tensor* t) { return !t->defined() || t->is_contiguous(); });
  if (!flat) return rows_of(tensors);
  const auto aligned = [](const Tensor* t) { return reinterpret_cast<uintptr_t>(t->raw()) % 16 == 0; };
  return {1, (*tensors.begin())->numel(), std::ranges::all_of(tensors, aligned)};
}

bool is_empty(const Area& area) { return area.rows == 0 || area.cols == 0; }

Mask mask_of(const Dropout& dropout, int64_t cols) {
  if (!dropout.active()) return {};
  const int64_t total = dropout.total_cols > 0 ? dropout.total_cols : cols;
  return {.key0 = static_cast<uint32_t>(dropout.seed),
          .key1 = static_cast<uint32_t>(dropout.seed >> 32),
          .site = dropout.site,
          .step = dropout.step,
          .threshold = dropout.threshold(),
          .scale = dropout.scale(),
          .blocks_per_row = static_cast<uint64_t>((total + 127) / 128),
          .row_offset = dropout.row_offset,
          .col_offset = dropout.col_offset,
          .active = true};
}

// Under the names of the operations.
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
    factors = {f.beta1, f.beta2, f.grad1, f.grad2, f.gradient_scale, f.root, f.epsilon};
    const auto tensors = {&range.param, &range.grad, &range.m, &range.v, &range.copy};
    some.range[some.count++] = {.keep = f.keep, .rate = f.rate, .count = range.param.numel(), .param = mutable_floats(range.param),
                                .grad = floats(range.grad), .m = mutable_floats(range.m), .v = mutable_floats(range.v),
                                .copy = range.copy.raw(), .copy_type = type_of(range.copy),
                                .vector = std::ranges::all_of(tensors, [](const Tensor* t) { return is_aligned(*t); })};
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

Vocabulary vocabulary_of(const Tensor& logits, int64_t start, int64_t size) {
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

// ---- matrix products; what the library cannot do in the same call is done by kernels after it

void multiply(const Context& context, Product product) {
  const int64_t k = product.a.dim(product.transpose_a ? 0 : 1);
  if (product.c.numel() == 0) return;
  if (k == 0) return product.beta == 0 ? on_gpu::fill(context, product.c, 0) : void();
  check(context.queue->multiply(product), "cuBLASLt has no product of {} by {} in {}", product.a.shape().to_string(),
        product.b.shape().to_string(), name_of(product.a.dtype()));
}

// False: the caller does what the epilogue would have.
bool multiply_with_epilogue(const Context& context, const Product& product) {
  return product.c.numel() > 0 && product.a.dim(product.transpose_a ? 0 : 1) > 0 && context.queue->multiply(product);
}

void gemm(const Context& context, bool transpose_a, bool transpose_b, const Tensor& a, const Tensor& b, float beta,
          const Tensor& c) {
  multiply(context, {.transpose_a = transpose_a, .transpose_b = transpose_b, .a = a, .b = b, .beta = beta, .c = c, .bias = {}, .pre = {}});
}

void linear_forward(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y) {
  Product product{.transpose_b = true, .a = x, .b = weight, .c = y, .bias = bias, .pre = {}};
  if (!bias.defined()) return multiply(context, product);
  product.epilogue = Product::Epilogue::bias;
  if (multiply_with_epilogue(context, product)) return;
  product.epilogue = Product::Epilogue::none;
  multiply(context, product);
  const Area area = rows_of({&y, &bias});
  if (!is_empty(area)) add_bias(stream_of(context), type_of(y), area, floats(bias), matrix(y));
}

void linear_activation_forward(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias,
                               Activation activation, const Tensor& pre, const Tensor& y) {
  Product product{.transpose_b = true, .a = x, .b = weight, .c = y, .epilogue = Product::Epilogue::gelu, .bias = bias, .pre = pre};
  if (activation == Activation::gelu_tanh && multiply_with_epilogue(context, product)) return;
  product.epilogue = Product::Epilogue::none;
  product.c = pre;
  multiply(context, product);
  const Area area = rows_of({&y, &pre, &bias});
  if (!is_empty(area))
    bias_activation(stream_of(context), type_of(y), activation == Activation::gelu_erf, area, floats(bias), matrix(pre), matrix(y));
}

void linear_backward_input(const Context& context, const Tensor& dy, const Tensor& weight, const Tensor& dx, bool accumulate) {
  multiply(context, {.a = dy, .b = weight, .beta = accumulate ? 1.0f : 0.0f, .c = dx, .bias = {}, .pre = {}});
}

void linear_activation_backward_input(const Context& context, const Tensor& dy, const Tensor& weight, const Tensor& pre,
                                      Activation activation, const Tensor& dpre) {
  Product product{.a = dy, .b = weight, .c = dpre, .epilogue = Product::Epilogue::gelu_gradient, .bias = {}, .pre = pre};
  if (activation == Activation::gelu_tanh && multiply_with_epilogue(context, product)) return;
  product.epilogue = Product::Epilogue::none;
  multiply(context, product);
  on_gpu::activation_backward(context, activation, pre, dpre, dpre);
}

void linear_backward_weight(const Context& context, const Tensor& dy, const Tensor& x, const Tensor& dweight,
                            const Tensor& dbias) {
  Product product{.transpose_a = true, .a = dy, .b = x, .beta = 1, .c = dweight, .bias = dbias, .pre = {}};
  if (dbias.defined()) {
    product.epilogue = Product::Epilogue::bias_gradient;
    if (multiply_with_epilogue(context, product)) return;
    product.epilogue = Product::Epilogue::none;
  }
  multiply(context, product);
  const Area area = rows_of({&dy});
  if (!dbias.defined() || is_empty(area)) return;
  TRIAX_GPU::add_column_sums(stream_of(context), scratch_of(context, "linear_backward_weight", dbias.bytes()), type_of(dy), area,
                             matrix(dy), {}, {}, dbias.data<float>());
}

// ---- attention

Attention attention_of(const Context&, std::string_view operation, const Tensor& qkv, const AttentionOptions& options,
                       std::initializer_list<const Tensor*> tensors) {
  const int64_t d = qkv.dim(3);
  check(d <= kMaxHeadDim, "{}: a head of {} elements is more than the {} that run on GPUs", operation, d, kMaxHeadDim);
  check(qkv.dim(2) <= 65535 && qkv.dim(0) < (int64_t{1} << 31), "{}: {} is more than runs on GPUs", operation,
        qkv.shape().to_string());
  const bool aligned = std::ranges::all_of(tensors, [](const Tensor* t) { return reinterpret_cast<uintptr_t>(t->raw()) % 16 == 0; });
  return {.type = type_of(qkv),
          .n = qkv.dim(0),
          .heads = static_cast<int32_t>(qkv.dim(2)),
          .d = static_cast<int32_t>(d),
          .causal = options.causal,
          .vector = aligned && d % 8 == 0,
          .scale = options.scale,
          .mask = mask_of(options.dropout, options.max_length),
          .head_offset = options.head_offset,
          .total_heads = options.total_heads,
          .qkv = qkv.raw()};
}

// body(spans) for as many spans at a time as a kernel takes; empty ones are left out.
template <typename Body>
void in_batches(std::span<const Span> all, const Body& body) {
  Spans spans;
  const auto flush = [&] {
    if (spans.count > 0) body(spans);
    spans.count = spans.longest = 0;
  };
  for (const Span& span : all) {
    if (span.length == 0) continue;
    spans.start[spans.count] = static_cast<int32_t>(span.start);
    spans.length[spans.count++] = static_cast<int32_t>(span.length);
    spans.longest = std::max(spans.longest, static_cast<int32_t>(span.length));
    if (spans.count == kMaxSpans) flush();
  }
  flush();
}

std::vector<Span> gaps_between(std::span<const Span> spans, int64_t n) {
  std::vector<Span> sorted(spans.begin(), spans.end()), gaps;
  std::ranges::sort(sorted, {}, &Span::start);
  int64_t covered = 0;
  for (const Span& span : sorted) {
    if (span.length == 0) continue;
    if (span.start > covered) gaps.push_back({covered, span.start - covered});
    covered = span.start + span.length;
  }
  if (covered < n) gaps.push_back({covered, n - covered});
  return gaps;
}

void attention_forward(const Context& context, const Tensor& qkv, std::span<const Span> spans, const AttentionOptions& options,
                       const Tensor& out, const Tensor& lse) {
  Attention a = attention_of(context, "attention_forward", qkv, options, {&qkv, &out});
  a.out = out.raw();
  a.lse = lse.data<float>();
  void* stream = stream_of(context);
  in_batches(spans, [&](const Spans& some) { TRIAX_GPU::attention_forward(stream, a, some); });
  in_batches(gaps_between(spans, a.n), [&](const Spans& some) { attention_zero(stream, a, false, some); });
}

void attention_backward(const Context& context, const Tensor& dout, const Tensor& qkv, const Tensor& out, const Tensor& lse,
                        std::span<const Span> spans, const AttentionOptions& options, const Tensor& dqkv,
                        const Tensor& scratch) {
  Attention a = attention_of(context, "attention_backward", qkv, options, {&qkv, &out, &dout, &dqkv});
  a.out = out.raw();
  a.dout = dout.raw();
  a.lse = lse.data<float>();
  a.dqkv = dqkv.raw();
  a.delta = static_cast<float*>(scratch.raw());
  void* stream = stream_of(context);
  if (a.n == 0) return;
  attention_deltas(stream, a);
  in_batches(spans, [&](const Spans& some) { TRIAX_GPU::attention_backward(stream, a, some); });
  in_batches(gaps_between(spans, a.n), [&](const Spans& some) { attention_zero(stream, a, true, some); });
}

void attention_decode(const Context& context, const Tensor& q, const Tensor& k_cache, const Tensor& v_cache,
                      std::span<const int64_t> lengths, float scale, const Tensor& out) {
  const int64_t b = q.dim(0), most = k_cache.dim(1), of_token = q.dim(1) * q.dim(2);
  if (q.numel() == 0) return;
  check(q.dim(2) <= kMaxHeadDim, "attention_decode: a head of {} elements is more than the {} that run on GPUs", q.dim(2), kMaxHeadDim);
  const auto at = [](const Tensor& tensor, int64_t element) {
    return static_cast<char*>(tensor.raw()) + static_cast<size_t>(element) * size_of(tensor.dtype());
  };
  Decode decode{.type = type_of(q), .heads = static_cast<int32_t>(q.dim(1)), .d = static_cast<int32_t>(q.dim(2)), .most = most,
                .vector = is_aligned(k_cache) && q.dim(2) % 8 == 0, .scale = scale};
  const size_t of_sequence = attention_decode_scratch(decode, *std::ranges::max_element(lengths));
  const Scratch scratch = scratch_of(context, "attention_decode", of_sequence);
  decode.parts = static_cast<float*>(scratch.data);
  const auto fitting = static_cast<int64_t>(of_sequence == 0 ? std::size(Lengths{}.length) : scratch.bytes / of_sequence);
  const int64_t at_a_time = std::min(fitting, static_cast<int64_t>(std::size(Lengths{}.length)));
  for (int64_t first = 0; first < b; first += at_a_time) {
    Lengths some;
    for (; some.count < at_a_time && first + some.count < b; ++some.count)
      some.length[some.count] = static_cast<int32_t>(lengths[static_cast<size_t>(first + some.count)]);
    decode.q = at(q, first * of_token), decode.out = at(out, first * of_token);
    decode.k = at(k_cache, first * most * of_token), decode.v = at(v_cache, first * most * of_token);
    TRIAX_GPU::attention_decode(stream_of(context), decode, some);
  }
}

}  // namespace on_gpu
}  // namespace

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
  };
  return all;
}

}  // namespace triax::TRIAX_GPU

#endif
