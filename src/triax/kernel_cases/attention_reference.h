// Attention and cross-entropy in plain double precision; their gradients are checked against finite
// differences in attention_gradients_test.cpp.
#pragma once

#include <limits>
#include <span>
#include <vector>

#include "triax/kernel_cases/reference.h"
#include "triax/kernels/attention.h"

namespace triax::reference {

struct AttentionShape {
  int64_t n, heads, d;
  std::vector<Span> spans;
  AttentionOptions options;
  // Offsets of one head's vector: part 0, 1, 2 (q, k, v) of qkv, and of out.
  size_t qkv(int64_t token, int64_t part, int64_t head) const {
    return index(((token * 3 + part) * heads + head) * d);
  }
  size_t out(int64_t token, int64_t head) const { return index((token * heads + head) * d); }
  double factor(int64_t token, int64_t head, int64_t key) const {
    const Dropout& dropout = options.dropout;
    if (!dropout.active()) return 1;
    const int64_t row =
        (dropout.row_offset + token) * options.total_heads + options.head_offset + head;
    return dropout_keep(dropout, row, key, options.max_length)
               ? static_cast<double>(dropout.scale())
               : 0.0;
  }
};

struct Attention {
  Vector out, lse;
};

inline double dot(const Vector& x, size_t i, const Vector& y, size_t j, int64_t d) {
  double sum = 0;
  for (size_t c = 0; c < index(d); ++c) sum += x[i + c] * y[j + c];
  return sum;
}

// The probabilities of one query, before dropout, and the log of their denominator.
inline Vector attention_row(const AttentionShape& shape, const Vector& qkv, const Span& span,
                            int64_t head, int64_t query, double* lse) {
  const int64_t keys = shape.options.causal ? query + 1 : span.length;
  Vector p(index(keys));
  double max = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t j = 0; j < keys; ++j) {
    p[index(j)] = static_cast<double>(shape.options.scale) *
                  dot(qkv, shape.qkv(span.start + query, 0, head), qkv,
                      shape.qkv(span.start + j, 1, head), shape.d);
    max = std::max(max, p[index(j)]);
  }
  for (double& x : p) sum += x = std::exp(x - max);
  for (double& x : p) x /= sum;
  *lse = max + std::log(sum);
  return p;
}

inline Attention attention(const AttentionShape& shape, const Vector& qkv) {
  Attention result{Vector(index(shape.n * shape.heads * shape.d)), Vector(index(shape.heads * shape.n))};
  for (const Span& span : shape.spans)
    for (int64_t a = 0; a < shape.heads; ++a)
      for (int64_t i = 0; i < span.length; ++i) {
        const int64_t token = span.start + i;
        const Vector p = attention_row(shape, qkv, span, a, i, &result.lse[index(a * shape.n + token)]);
        for (size_t j = 0; j < p.size(); ++j)
          for (size_t c = 0; c < index(shape.d); ++c)
            result.out[shape.out(token, a) + c] +=
                p[j] * shape.factor(token, a, static_cast<int64_t>(j)) *
                qkv[shape.qkv(span.start + static_cast<int64_t>(j), 2, a) + c];
      }
  return result;
}

inline Vector attention_backward(const AttentionShape& shape, const Vector& qkv, const Vector& dout) {
  Vector dqkv(qkv.size());
  for (const Span& span : shape.spans)
    for (int64_t a = 0; a < shape.heads; ++a)
      for (int64_t i = 0; i < span.length; ++i) {
        double lse, delta = 0;
        const int64_t token = span.start + i;
        const Vector p = attention_row(shape, qkv, span, a, i, &lse);
        Vector dp(p.size());
        for (size_t j = 0; j < p.size(); ++j) {
          const int64_t key = span.start + static_cast<int64_t>(j);
          const double factor = shape.factor(token, a, static_cast<int64_t>(j));
          dp[j] = factor * dot(dout, shape.out(token, a), qkv, shape.qkv(key, 2, a), shape.d);
          delta += p[j] * dp[j];
          for (size_t c = 0; c < index(shape.d); ++c)
            dqkv[shape.qkv(key, 2, a) + c] += p[j] * factor * dout[shape.out(token, a) + c];
        }
        for (size_t j = 0; j < p.size(); ++j) {
          const int64_t key = span.start + static_cast<int64_t>(j);
          const double ds = static_cast<double>(shape.options.scale) * p[j] * (dp[j] - delta);
          for (size_t c = 0; c < index(shape.d); ++c) {
            dqkv[shape.qkv(token, 0, a) + c] += ds * qkv[shape.qkv(key, 1, a) + c];
            dqkv[shape.qkv(key, 1, a) + c] += ds * qkv[shape.qkv(token, 0, a) + c];
          }
        }
      }
  return dqkv;
}

struct Softmax {
  Vector max, sum, target;
};

// Of columns [start, start + columns) of a vocabulary of `size`.
inline Softmax softmax_statistics(int64_t n, int64_t columns, int64_t start, int64_t size,
                                  const Vector& logits, const Vector& targets) {
  Softmax s{Vector(index(n), -std::numeric_limits<double>::infinity()), Vector(index(n)), Vector(index(n))};
  const int64_t valid = std::max<int64_t>(0, std::min(columns, size - start));
  for (int64_t i = 0; i < n; ++i) {
    const double* row = logits.data() + i * columns;
    for (int64_t j = 0; j < valid; ++j) s.max[index(i)] = std::max(s.max[index(i)], row[j]);
    for (int64_t j = 0; j < valid; ++j) s.sum[index(i)] += std::exp(row[j] - s.max[index(i)]);
    const auto column = static_cast<int64_t>(targets[index(i)]) - start;
    if (targets[index(i)] >= 0 && column >= 0 && column < valid) s.target[index(i)] = row[column];
  }
  return s;
}

inline void cross_entropy_backward(int64_t n, int64_t columns, int64_t start, int64_t size,
                                   Vector& logits, const Vector& targets, const Vector& lse,
                                   const Vector& weight) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      double& x = logits[index(i * columns + j)];
      const bool target = static_cast<int64_t>(targets[index(i)]) == start + j;
      x = start + j < size ? (std::exp(x - lse[index(i)]) - (target ? 1 : 0)) * weight[index(i)] : 0;
    }
}

}  // namespace triax::reference
