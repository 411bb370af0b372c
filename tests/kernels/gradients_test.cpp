// The references' gradients against finite differences of the references, in double precision.
#include <gtest/gtest.h>

#include "triax/kernel_cases/reference.h"

namespace triax {
namespace {

using harness::Gradient;
using harness::gradient_error;
using harness::random_vector;
using harness::Vector;

constexpr double kTolerance = 1e-8;

TEST(Gradients, OfAMatrixProduct) {
  constexpr int64_t m = 4, n = 5, k = 6;  // y [m, n] = x [m, k] W^T [k, n]
  const Gradient linear{.inputs = {random_vector(m * k, 1), random_vector(n * k, 2)},
                        .forward =
                            [](const auto& in) {
                              Vector y(m * n);
                              reference::add_product(false, true, m, n, k, in[0], in[1], y);
                              return y;
                            },
                        .backward =
                            [](const auto& in, const Vector& dy) {
                              Vector dx(m * k), dw(n * k);
                              reference::add_product(false, false, m, k, n, dy, in[1], dx);
                              reference::add_product(true, false, n, k, m, dy, in[0], dw);
                              return std::vector<Vector>{dx, dw};
                            }};
  EXPECT_LT(gradient_error(linear, 3), kTolerance);
}

TEST(Gradients, OfTheActivations) {
  for (const Activation kind : {Activation::gelu_tanh, Activation::gelu_erf}) {
    const Gradient activation{.inputs = {random_vector(200, 4)},
                              .forward =
                                  [kind](const auto& in) {
                                    Vector y = in[0];
                                    for (double& x : y) x = reference::activation(kind, x);
                                    return y;
                                  },
                              .backward =
                                  [kind](const auto& in, const Vector& dy) {
                                    Vector dx = in[0];
                                    for (size_t i = 0; i < dx.size(); ++i)
                                      dx[i] = dy[i] * reference::activation_slope(kind, dx[i]);
                                    return std::vector<Vector>{dx};
                                  }};
    EXPECT_LT(gradient_error(activation, 5), kTolerance);
  }
}

TEST(Gradients, OfTanh) {
  const Gradient tanh{.inputs = {random_vector(50, 10)},
                      .forward =
                          [](const auto& in) {
                            Vector y = in[0];
                            for (double& x : y) x = std::tanh(x);
                            return y;
                          },
                      .backward =
                          [](const auto& in, const Vector& dy) {
                            Vector dx = in[0];
                            for (size_t i = 0; i < dx.size(); ++i) dx[i] = dy[i] * (1 - std::pow(std::tanh(dx[i]), 2));
                            return std::vector<Vector>{dx};
                          }};
  EXPECT_LT(gradient_error(tanh, 11), kTolerance);
}

TEST(Gradients, OfLayerNorm) {
  constexpr int64_t n = 3, h = 7;
  constexpr double epsilon = 1e-5;
  const Gradient layernorm{
      .inputs = {random_vector(n * h, 6), random_vector(h, 7), random_vector(h, 8)},
      .forward =
          [](const auto& in) { return reference::layernorm(n, h, in[0], in[1], in[2], epsilon).y; },
      .backward =
          [](const auto& in, const Vector& dy) {
            const auto kept = reference::layernorm(n, h, in[0], in[1], in[2], epsilon);
            const auto d =
                reference::layernorm_backward(n, h, dy, in[0], in[1], kept.mean, kept.rstd);
            return std::vector<Vector>{d.dx, d.dgamma, d.dbeta};
          }};
  EXPECT_LT(gradient_error(layernorm, 9), kTolerance);
}

}  // namespace
}  // namespace triax
