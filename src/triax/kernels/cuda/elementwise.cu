// Activations, casts, and sums of what is there: every element is read once.
#include "triax/kernels/cuda/elements.h"

namespace triax::TRIAX_GPU {
namespace {

__device__ inline float gelu(bool erf, float x) {
  if (erf) return 0.5f * x * (1.0f + erff(x * 0.70710678f));
  return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
}

__device__ inline float gelu_slope(bool erf, float x) {
  if (erf) return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
  const float t = tanhf(0.79788456f * (x + 0.044715f * x * x * x));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.79788456f * (1.0f + 3 * 0.044715f * x * x);
}

// y = activation(x + bias), with x + bias kept in pre where that is wanted.
template <typename T>
struct ActivationForward {
  Matrix x, pre, y;
  const float* bias;
  bool erf, linear;
  template <int kCount>
  __device__ void at(int64_t row, int64_t col) const {
    float v[kCount], b[kCount];
    load<kCount>(row_of<const T>(x, row) + col, v);
    if (bias) {
      load<kCount>(bias + col, b);
      for (int i = 0; i < kCount; ++i) v[i] += b[i];
    }
    if (pre.data) store<kCount>(v, row_of<T>(pre, row) + col);
    if (!linear)
      for (int i = 0; i < kCount; ++i) v[i] = gelu(erf, v[i]);
    store<kCount>(v, row_of<T>(y, row) + col);
  }
};

struct GeluSlope {
  bool erf;
  __device__ float operator()(float x) const { return gelu_slope(erf, x); }
};
struct TanhSlope {  // of what tanh gave
  __device__ float operator()(float y) const { return 1.0f - y * y; }
};

// dx = dy slope(x).
template <typename T, typename Slope>
struct SlopeBackward {
  Matrix x, dy, dx;
  Slope slope;
  template <int kCount>
  __device__ void at(int64_t row, int64_t col) const {
    float v[kCount], up[kCount];
    load<kCount>(row_of<const T>(x, row) + col, v);
    load<kCount>(row_of<const T>(dy, row) + col, up);
    for (int i = 0; i < kCount; ++i) up[i] *= slope(v[i]);
    store<kCount>(up, row_of<T>(dx, row) + col);
  }
};

template <typename T>
struct TanhForward {
  Matrix x, y;
  template <int kCount>
  __device__ void at(int64_t row, int64_t col) const {
    float v[kCount];
    load<kCount>(row_of<const T>(x, row) + col, v);
    for (int i = 0; i < kCount; ++i) v[i] = tanhf(v[i]);
    store<kCount>(v, row_of<T>(y, row) + col);
  }
};

template <typename From, typename To>
struct Convert {
  Matrix src, dst;
  template <int kCount>
  __device__ void at(int64_t row, int64_t col) const {
    float v[kCount];
    load<kCount>(row_of<const From>(src, row) + col, v);
    store<kCount>(v, row_of<To>(dst, row) + col);
  }
};

// x = a x + b y + c, y and x only read where their factor is not 0.
template <typename T>
struct Linear {
  Matrix x, y;
  float a, b, c;
  template <int kCount>
  __device__ void at(int64_t row, int64_t col) const {
    float v[kCount], w[kCount];
    for (int i = 0; i < kCount; ++i) v[i] = c;
    if (a != 0) {
      load<kCount>(row_of<const T>(x, row) + col, v);
      for (int i = 0; i < kCount; ++i) v[i] *= a;
    }
    if (y.data) {
      load<kCount>(row_of<const T>(y, row) + col, w);
      for (int i = 0; i < kCount; ++i) v[i] = fmaf(b, w[i], v[i]);
    }
    store<kCount>(v, row_of<T>(x, row) + col);
  }
};

}  // namespace

void activation_forward(void* stream, Type type, bool erf, Area area, Matrix x, Matrix y) {
  with_type(type, [&](auto tag) {
    for_elements(stream, area, ActivationForward<typename decltype(tag)::type>{x, {}, y, nullptr, erf, false});
  });
}

void bias_activation(void* stream, Type type, bool erf, Area area, const float* bias, Matrix pre, Matrix y) {
  with_type(type, [&](auto tag) {
    for_elements(stream, area, ActivationForward<typename decltype(tag)::type>{pre, bias ? pre : Matrix{}, y, bias, erf, false});
  });
}

void add_bias(void* stream, Type type, Area area, const float* bias, Matrix y) {
  with_type(type, [&](auto tag) {
    for_elements(stream, area, ActivationForward<typename decltype(tag)::type>{y, {}, y, bias, false, true});
  });
}

void activation_backward(void* stream, Type type, bool erf, Area area, Matrix x, Matrix dy, Matrix dx) {
  with_type(type, [&](auto tag) {
    for_elements(stream, area, SlopeBackward<typename decltype(tag)::type, GeluSlope>{x, dy, dx, {erf}});
  });
}

void tanh_forward(void* stream, Type type, Area area, Matrix x, Matrix y) {
  with_type(type, [&](auto tag) { for_elements(stream, area, TanhForward<typename decltype(tag)::type>{x, y}); });
}

void tanh_backward(void* stream, Type type, Area area, Matrix y, Matrix dy, Matrix dx) {
  with_type(type, [&](auto tag) { for_elements(stream, area, SlopeBackward<typename decltype(tag)::type, TanhSlope>{y, dy, dx, {}}); });
}

void convert(void* stream, Type from, Type to, Area area, Matrix src, Matrix dst) {
  with_type(from, [&](auto tag) {
    with_type(to, [&](auto to_tag) {
      for_elements(stream, area, Convert<typename decltype(tag)::type, typename decltype(to_tag)::type>{src, dst});
    });
  });
}

void fill(void* stream, Type type, Area area, Matrix x, float value) {
  with_type(type, [&](auto tag) { for_elements(stream, area, Linear<typename decltype(tag)::type>{x, {}, 0, 0, value}); });
}

void add_scaled(void* stream, Type type, Area area, float alpha, Matrix x, Matrix y) {
  with_type(type, [&](auto tag) { for_elements(stream, area, Linear<typename decltype(tag)::type>{y, x, 1, alpha, 0}); });
}

void scale(void* stream, Type type, Area area, float alpha, Matrix x) {
  with_type(type, [&](auto tag) { for_elements(stream, area, Linear<typename decltype(tag)::type>{x, x, 0, alpha, 0}); });
}

}  // namespace triax::TRIAX_GPU
