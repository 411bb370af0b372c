// What the op harness does not see of attention and cross-entropy: NaN, errors, and the references'
// own gradients.
#include <gtest/gtest.h>

#include <limits>

#include "triax/kernel_cases/attention_reference.h"
#include "triax/base/error.h"
#include "triax/base/parallel.h"
#include "triax/kernels/cross_entropy.h"

namespace triax {
namespace {

using harness::Gradient;
using harness::random_vector;
using harness::Vector;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

TEST(AttentionReference, HasTheGradientOfItsForward) {
  for (const bool causal : {true, false})
    for (const float probability : {0.0f, 0.3f}) {
      reference::AttentionShape shape{14, 2, 5, {{1, 4}, {6, 7}}, {}};
      shape.options.causal = causal;
      shape.options.scale = 0.4f;
      shape.options.dropout.probability = probability;
      shape.options.total_heads = 2;
      shape.options.max_length = 7;
      const Gradient gradient{
          .inputs = {random_vector(14 * 3 * 2 * 5, 1)},
          .forward = [&](const auto& in) { return reference::attention(shape, in[0]).out; },
          .backward =
              [&](const auto& in, const Vector& dout) {
                return std::vector<Vector>{reference::attention_backward(shape, in[0], dout)};
              }};
      EXPECT_LT(harness::gradient_error(gradient, 2), 1e-8);
    }
}

TEST(CrossEntropyReference, HasTheGradientOfTheLoss) {
  constexpr int64_t n = 4, columns = 9, size = 7;
  const Vector targets = {0, 6, 3, 3}, weight = {1, 0.5, 0, 2};
  const auto lse = [&](const Vector& logits) {
    const auto s = reference::softmax_statistics(n, columns, 0, size, logits, targets);
    Vector all;
    for (size_t i = 0; i < n; ++i) all.push_back(s.max[i] + std::log(s.sum[i]));
    return all;
  };
  const Gradient gradient{
      .inputs = {random_vector(n * columns, 3)},
      .forward =
          [&](const auto& in) {
            const auto s = reference::softmax_statistics(n, columns, 0, size, in[0], targets);
            double loss = 0;
            for (size_t i = 0; i < n; ++i) loss += weight[i] * (lse(in[0])[i] - s.target[i]);
            return Vector{loss};
          },
      .backward =
          [&](const auto& in, const Vector& dout) {
            Vector dx = in[0];
            reference::cross_entropy_backward(n, columns, 0, size, dx, targets, lse(in[0]), weight);
            for (double& x : dx) x *= dout[0];
            return std::vector<Vector>{dx};
          }};
  EXPECT_LT(harness::gradient_error(gradient, 4), 1e-8);
}

// A batch of one span with its buffers, for the tests below.
struct Batch {
  int64_t n, heads, d;
  std::vector<Span> spans{{0, n}};
  AttentionOptions options{};
  OwnedTensor qkv{{n, 3, heads, d}, DType::f32}, out{{n, heads, d}, DType::f32};
  OwnedTensor lse{{heads, n}, DType::f32}, dout{{n, heads, d}, DType::f32};
  OwnedTensor dqkv{{n, 3, heads, d}, DType::f32};

  void forward() { attention_forward({}, qkv, spans, options, out, lse); }
  void backward() {
    const auto bytes = static_cast<int64_t>(attention_backward_scratch(qkv, spans));
    const OwnedTensor scratch({bytes}, DType::u8);
    attention_backward({}, dout, qkv, out, lse, spans, options, dqkv, scratch);
  }
};

TEST(Attention, CarriesNaNToTheQueriesThatSeeIt) {
  Batch batch{200, 1, 8};
  const auto qkv = batch.qkv.span<float>();
  Philox random(1);
  for (float& x : qkv) x = static_cast<float>(random.next_normal());
  qkv[(150 * 3 + 1) * 8] = kNaN;  // k of token 150
  batch.forward();
  const auto out = batch.out.span<float>();
  for (size_t t = 0; t < 200; ++t) {
    EXPECT_EQ(std::isnan(out[t * 8]), t >= 150) << t;
    EXPECT_EQ(std::isnan(batch.lse.span<float>()[t]), t >= 150) << t;
  }
  std::ranges::fill(batch.dout.span<float>(), 1.0f);
  batch.backward();
  EXPECT_TRUE(std::isnan(batch.dqkv.span<float>()[160 * 3 * 8]));
  EXPECT_FALSE(std::isnan(batch.dqkv.span<float>()[140 * 3 * 8]));
}

// Scores of several thousand neither overflow nor lose the greatest.
TEST(Attention, SurvivesHugeScores) {
  Batch batch{140, 1, 4};
  const auto qkv = batch.qkv.span<float>();
  for (size_t t = 0; t < 140; ++t)
    for (size_t c = 0; c < 4; ++c) {
      qkv[(t * 3 + 0) * 4 + c] = 100;
      qkv[(t * 3 + 1) * 4 + c] = static_cast<float>(t % 10) - 5;
      qkv[(t * 3 + 2) * 4 + c] = static_cast<float>(t % 10);
    }
  batch.forward();
  for (size_t t = 0; t < 140; ++t)
    EXPECT_EQ(batch.out.span<float>()[t * 4], static_cast<float>(std::min<size_t>(t, 9)));
}

template <typename Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Attention, RefusesWhatDoesNotFit) {
  Batch batch{16, 2, 4};
  const auto forward = [&] { return message_of([&] { batch.forward(); }); };
  batch.spans = {{0, 17}};
  EXPECT_NE(forward().find("does not lie in the batch of 16 tokens"), std::string::npos) << forward();
  batch.spans = {{-1, 3}};
  EXPECT_NE(forward().find("does not lie in the batch"), std::string::npos) << forward();
  batch.spans = {{8, 4}, {0, 9}};
  EXPECT_NE(forward().find("two spans share token 8"), std::string::npos) << forward();
  batch.spans = {{0, 16}};
  batch.options.dropout.probability = 0.5f;
  EXPECT_NE(forward().find("total_heads"), std::string::npos) << forward();
  batch.options.total_heads = 2;
  EXPECT_NE(forward().find("max_length 0"), std::string::npos) << forward();
  batch.options.max_length = 16;
  EXPECT_EQ(forward(), "no error");

  const OwnedTensor small({16}, DType::u8);
  const auto backward = message_of([&] {
    attention_backward({}, batch.dout, batch.qkv, batch.out, batch.lse, batch.spans, batch.options,
                       batch.dqkv, small);
  });
  EXPECT_NE(backward.find("scratch must hold"), std::string::npos) << backward;

  const OwnedTensor q({1, 2, 4}, DType::f32), cache({1, 8, 2, 4}, DType::f32);
  const OwnedTensor lengths({1}, DType::i32);
  const auto decode = [&](int32_t length, int64_t longest) {
    lengths.span<int32_t>()[0] = length;
    return message_of([&] { attention_decode({}, q, cache, cache, lengths, longest, 1, q); });
  };
  EXPECT_NE(decode(9, 9).find("longest must lie in [1, 8], not 9"), std::string::npos);
  EXPECT_NE(decode(5, 4).find("a length must lie in [1, 4], not 5"), std::string::npos);
  EXPECT_EQ(decode(4, 4), "no error");
}

TEST(CrossEntropy, KeepsNaNAndInfinity) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr int64_t kColumns = 5000;  // more than one chunk
  const OwnedTensor logits({3, kColumns}, DType::f32), targets({3}, DType::i32);
  const OwnedTensor max({3}, DType::f32), sum({3}, DType::f32), target({3}, DType::f32);
  const auto x = logits.span<float>();
  x[100] = kNaN;
  std::fill_n(x.begin() + kColumns, kColumns, -kInfinity);
  std::fill_n(x.begin() + 2 * kColumns, 4500, -kInfinity);
  softmax_statistics({}, logits, targets, 0, kColumns, max, sum, target);
  EXPECT_TRUE(std::isnan(sum.span<float>()[0]));
  EXPECT_EQ(max.span<float>()[1], -kInfinity);
  EXPECT_EQ(sum.span<float>()[1], 0);
  EXPECT_EQ(max.span<float>()[2], 0);
  EXPECT_EQ(sum.span<float>()[2], 500);
}

}  // namespace
}  // namespace triax
