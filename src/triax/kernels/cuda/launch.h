// What the host calls of the kernels: plain pointers and numbers, so that kernels are compiled without the rest of
// triax. Everything is queued on `stream` and returns at once. Arguments have been checked.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef TRIAX_GPU
#ifdef TRIAX_CUDA_ON_HOST
#define TRIAX_GPU cuda_on_host
#else
#define TRIAX_GPU cuda
#endif
#endif

namespace triax::TRIAX_GPU {

enum class Type { f32, bf16, f16 };

// A dropout mask; row_offset and col_offset lead from a tensor's rows and columns to global ones.
struct Mask {
  uint32_t key0 = 0, key1 = 0, site = 0, step = 0, threshold = 0;
  float scale = 1;
  uint64_t blocks_per_row = 0;
  int64_t row_offset = 0, col_offset = 0;
  bool active = false;
};

// A matrix of a compute type, rows `stride` elements apart; data may be null.
struct Matrix {
  void* data = nullptr;
  int64_t stride = 0;
};

// rows x cols elements. `vector`: every row of every operand begins at a multiple of 16 bytes.
struct Area {
  int64_t rows = 0, cols = 0;
  bool vector = false;
};

// Memory that kernels of one stream use after each other.
struct Scratch {
  void* data = nullptr;
  size_t bytes = 0;
};

// ---- elementwise.cu

void activation_forward(void* stream, Type type, bool erf, Area area, Matrix x, Matrix y);
void activation_backward(void* stream, Type type, bool erf, Area area, Matrix x, Matrix dy, Matrix dx);
// y = activation(pre = x + bias); pre may be null, bias too.
void bias_activation(void* stream, Type type, bool erf, Area area, const float* bias, Matrix pre, Matrix y);
void add_bias(void* stream, Type type, Area area, const float* bias, Matrix y);
void tanh_forward(void* stream, Type type, Area area, Matrix x, Matrix y);
void tanh_backward(void* stream, Type type, Area area, Matrix y, Matrix dy, Matrix dx);
void convert(void* stream, Type from, Type to, Area area, Matrix src, Matrix dst);
void fill(void* stream, Type type, Area area, Matrix x, float value);
void add_scaled(void* stream, Type type, Area area, float alpha, Matrix x, Matrix y);
void scale(void* stream, Type type, Area area, float alpha, Matrix x);

// ---- quantize.cu

// A matrix in FP8, rows `stride` bytes apart, a multiple of 16 from the row's end on, and what its numbers are to be multiplied with.
struct Codes {
  uint8_t* data = nullptr;
  int64_t stride = 0;
  float* factor = nullptr;
  bool e5m2 = false, transposed = false;
};
size_t quantize_scratch();
void quantize(void* stream, Scratch scratch, Type type, Area area, Matrix x, const Codes& codes);

// ---- dropout.cu

// out = residual + mask * (x + bias + table[positions]); all but x may be null. Positions outside of the table's
// `positions_end` rows add nothing.
struct DropoutAdd {
  Matrix x, table, residual, out;
  const float* bias = nullptr;
  const int32_t* positions = nullptr;
  int64_t positions_end = 0;
  Mask mask;
};
void dropout_add(void* stream, Type type, Area area, const DropoutAdd& operands);
// sums [cols] += column sums of x times its mask, which also becomes dx if that is given; dx may be x.
void add_column_sums(void* stream, Scratch scratch, Type type, Area area, Matrix x, const Mask& mask, Matrix dx, float* sums);

// ---- norm.cu

void layernorm_forward(void* stream, Type type, Area area, Matrix x, const float* gamma, const float* beta, float epsilon,
                       Matrix y, float* mean, float* rstd);
struct LayerNormBackward {
  Matrix dy, x, dx;
  const float *gamma = nullptr, *mean = nullptr, *rstd = nullptr;
  bool accumulate = false;
  float *dgamma = nullptr, *dbeta = nullptr;
};
// Scratch that layernorm_backward needs; more lets more blocks work.
size_t layernorm_backward_scratch(Area area);
void layernorm_backward(void* stream, Scratch scratch, Type type, Area area, const LayerNormBackward& operands);

// ---- embedding.cu

void embedding_forward(void* stream, Type type, Area area, const int32_t* ids, Matrix table, int64_t first_row,
                       int64_t table_rows, Matrix out);
// table[rows - first_row] = values, or +=.
void scatter_rows(void* stream, Type type, Area area, Matrix values, const int32_t* rows, int64_t first_row, int64_t table_rows,
                  bool accumulate, Matrix table);
// Scratch that embedding_backward needs for so many tokens.
size_t embedding_backward_scratch(int64_t tokens);
void embedding_backward(void* stream, Scratch scratch, Type type, Area area, Matrix dout, const int32_t* ids,
                        int64_t first_row, int64_t table_rows, float* dtable, int64_t dtable_stride);

// ---- cross_entropy.cu

// Columns [start, ...) of a vocabulary, of which the first `valid` take part.
struct Vocabulary {
  int64_t start = 0, valid = 0;
};
void softmax_statistics(void* stream, Type type, Area area, Matrix logits, const int32_t* targets, Vocabulary vocabulary,
                        float* row_max, float* row_sum, float* target_logit);
void cross_entropy_backward(void* stream, Type type, Area area, Matrix logits, const int32_t* targets,
                            Vocabulary vocabulary, const float* lse, const float* weight);
// row_sum *= exp(from - to)
void rescale_sums(void* stream, int64_t n, const float* from, const float* to, float* row_sum);
// row_max += log(row_sum); losses = row_max - target; row_sum = weight * scale.
void token_losses(void* stream, int64_t n, float* row_max, float* row_sum, const float* target, const float* weight,
                  float loss_scale, float* losses);
// The sum of weights[i] * values[i] where the weight is not 0, into the first 8 bytes of scratch, as a double.
void weighted_sum(void* stream, Scratch scratch, int64_t n, const float* weights, const float* values);

// ---- optimizer.cu

// Scratch that sum_of_squares needs.
size_t sum_of_squares_scratch(Area area);
void sum_of_squares(void* stream, Scratch scratch, Type type, Area area, Matrix x, double* result);

// Of a step, and of one of its ranges of `count` elements.
struct AdamW {
  float beta1, beta2, grad1, grad2, gradient_scale, root, epsilon;
  uint64_t seed;  // of stochastic rounding
  uint32_t step;
};
// See RoundingPlace of kernels/adamw.h; width 0: rounding to nearest.
struct AdamWPlace {
  uint32_t stream;
  int64_t first, width, global_width, offset;
};
struct AdamWRange {
  float keep, rate;
  int64_t count;
  float* param;
  const float* grad;  // null: only the copy is made
  float *m, *v;
  void* copy;      // of copy_type, or null
  Type copy_type;
  bool vector;     // all begin at multiples of 16 bytes
  AdamWPlace place;
};
// Ranges are given to the kernel as arguments, so many at a time (from CUDA 12.1 on these may take 32 KiB).
constexpr int kMaxRanges = 256;
struct AdamWRanges {
  AdamWRange range[kMaxRanges];
  uint32_t first_block[kMaxRanges + 1];  // of each, and the end; filled by adamw_update()
  int32_t count = 0;
};
void adamw_update(void* stream, const AdamW& factors, AdamWRanges& ranges);

// ---- attention.cu and attention_decode.cu

// Spans are given to kernels as arguments, so many at a time.
constexpr int kMaxSpans = 128;
struct Spans {
  int32_t start[kMaxSpans], length[kMaxSpans];
  int32_t count = 0, longest = 0;
};

struct Attention {
  Type type = Type::f32;
  int64_t n = 0;
  int32_t heads = 0, d = 0;
  bool causal = false, vector = false;  // vector: rows of a head begin at multiples of 16 bytes
  float scale = 1;
  Mask mask;
  int64_t head_offset = 0, total_heads = 0;
  const void* qkv = nullptr;  // [n, 3, heads, d]
  void* out = nullptr;        // [n, heads, d]
  float* lse = nullptr;       // [heads, n]
  const void* dout = nullptr;
  float* delta = nullptr;  // [heads, n] scratch of the backward
  void* dqkv = nullptr;
};
constexpr int kMaxHeadDim = 256;
void attention_forward(void* stream, const Attention& attention, const Spans& spans);
// Fills attention.delta for all tokens; then the backward of some spans.
void attention_deltas(void* stream, const Attention& attention);
void attention_backward(void* stream, const Attention& attention, const Spans& spans);
// Zeros where no span is: `gaps` are the spans' complement. Of out and lse, or of dqkv.
void attention_zero(void* stream, const Attention& attention, bool backward, const Spans& gaps);

struct Decode {
  Type type = Type::f32;
  int32_t heads = 0, d = 0;
  int64_t most = 0;  // keys a cache has room for
  bool vector = false;  // as that of Attention
  float scale = 1;
  const void *q = nullptr, *k = nullptr, *v = nullptr;  // of the first of these sequences
  const int32_t* lengths = nullptr;
  void* out = nullptr;
  float* parts = nullptr;  // scratch
};
// Bytes of Decode::parts that a sequence takes when none is longer.
size_t attention_decode_scratch(const Decode& decode, int64_t longest);
void attention_decode(void* stream, const Decode& decode, int64_t sequences, int64_t longest);

}  // namespace triax::TRIAX_GPU
