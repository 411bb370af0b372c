#include "triax/generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace triax {
namespace {

void penalize_repetition(std::span<float> logits, std::span<const int32_t> seen, double penalty) {
  std::vector<int32_t> distinct(seen.begin(), seen.end());
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  const auto factor = static_cast<float>(penalty);
  for (const int32_t token : distinct) {
    if (token < 0 || static_cast<size_t>(token) >= logits.size()) continue;
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / factor : logit * factor;
  }
}

}  // namespace

double log_sum_exp(std::span<const float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - top));
  return static_cast<double>(top) + std::log(sum);
}

SampledToken sample_token(std::span<float> logits, std::span<const int32_t> seen,
                          const SamplingOptions& options, Philox& random) {
  const double lse = log_sum_exp(logits);
  const std::vector<float> original(logits.begin(), logits.end());
  const auto result = [&](size_t token) -> SampledToken {
    return {static_cast<int32_t>(token), static_cast<float>(static_cast<double>(original[token]) - lse)};
  };
  if (options.repetition_penalty != 1.0)
    penalize_repetition(logits, seen, options.repetition_penalty);
  if (options.temperature <= 0)
    return result(static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));

  // The candidates from the most likely down; ties go to the lower id, so that a seed decides all.
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto likelier = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  size_t kept = order.size();
  if (options.top_k > 0) kept = std::min(kept, static_cast<size_t>(options.top_k));
  if (kept < order.size()) {
    std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(kept), order.end(), likelier);
  } else {
    std::sort(order.begin(), order.end(), likelier);
  }
  std::vector<double> probability(kept);
  const float top = logits[static_cast<size_t>(order[0])];
  double total = 0;
  for (size_t i = 0; i < kept; ++i) {
    probability[i] = std::exp(static_cast<double>(logits[static_cast<size_t>(order[i])] - top) / options.temperature);
    total += probability[i];
  }
  if (options.top_p < 1.0) {
    double sum = 0;
    size_t count = 0;
    while (count < kept && sum < options.top_p * total) sum += probability[count++];
    kept = std::max<size_t>(1, count);
    total = std::accumulate(probability.begin(), probability.begin() + static_cast<int64_t>(kept), 0.0);
  }
  double draw = random.next_double() * total;
  size_t choice = 0;
  while (choice + 1 < kept && (draw -= probability[choice]) >= 0) ++choice;
  return result(static_cast<size_t>(order[choice]));
}

}  // namespace triax
