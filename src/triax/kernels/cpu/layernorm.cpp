#include <cmath>
#include <vector>

#include "triax/base/parallel.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/rows.h"

namespace triax::cpu {

void layernorm_forward(const Tensor& x, const Tensor& gamma, const Tensor& beta, float epsilon,
                       const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  const int64_t h = x.dim(1);
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    const auto in = rows_of<T>(x), out = rows_of<T>(y);
    const float *g = gamma.data<float>(), *b = beta.data<float>();
    parallel_for(x.dim(0), row_grain(h), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float sum = 0, squares = 0;
        for (int64_t j = 0; j < h; ++j) sum += static_cast<float>(in[i][j]);
        const float mu = sum / static_cast<float>(h);
        for (int64_t j = 0; j < h; ++j) {
          const float d = static_cast<float>(in[i][j]) - mu;
          squares += d * d;
        }
        const float r = 1 / std::sqrt(squares / static_cast<float>(h) + epsilon);
        for (int64_t j = 0; j < h; ++j)
          out[i][j] = T((static_cast<float>(in[i][j]) - mu) * r * g[j] + b[j]);
        if (mean.defined()) mean.data<float>()[i] = mu, rstd.data<float>()[i] = r;
      }
    });
  });
}

void layernorm_backward(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                        const Tensor& rstd, const Tensor& dx, bool accumulate, const Tensor& dgamma,
                        const Tensor& dbeta) {
  const int64_t n = x.dim(0), h = x.dim(1);
  const int64_t grain = std::max<int64_t>(row_grain(h), (n + 63) / 64);
  const int64_t pieces = (n + grain - 1) / grain;
  std::vector<float> partial(static_cast<size_t>(pieces * 2 * h));
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    const auto in = rows_of<T>(x), d = rows_of<T>(dy), out = rows_of<T>(dx);
    const float* g = gamma.data<float>();
    parallel_for(n, grain, [&](int64_t begin, int64_t end) {
      float* pg = partial.data() + begin / grain * 2 * h;
      float* pb = pg + h;
      for (int64_t i = begin; i < end; ++i) {
        const float mu = mean.data<float>()[i], r = rstd.data<float>()[i];
        float sum = 0, dot = 0;
        for (int64_t j = 0; j < h; ++j) {
          const float normal = (static_cast<float>(in[i][j]) - mu) * r;
          const float dyj = static_cast<float>(d[i][j]);
          pg[j] += dyj * normal, pb[j] += dyj;
          sum += dyj * g[j], dot += dyj * g[j] * normal;
        }
        sum /= static_cast<float>(h), dot /= static_cast<float>(h);
        for (int64_t j = 0; j < h; ++j) {
          const float normal = (static_cast<float>(in[i][j]) - mu) * r;
          const float value = r * (static_cast<float>(d[i][j]) * g[j] - sum - normal * dot);
          out[i][j] = T(accumulate ? static_cast<float>(out[i][j]) + value : value);
        }
      }
    });
  });
  float *dg = dgamma.data<float>(), *db = dbeta.data<float>();
  for (int64_t p = 0; p < pieces; ++p)
    for (int64_t j = 0; j < h; ++j) {
      dg[j] += partial[static_cast<size_t>(p * 2 * h + j)];
      db[j] += partial[static_cast<size_t>((p * 2 + 1) * h + j)];
    }
}

}  // namespace triax::cpu
