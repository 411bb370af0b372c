#include "triax/plan/timing_rounds.h"

#include <algorithm>

#include "triax/base/trace.h"

namespace triax {
namespace {

double middle_of(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

bool TimingRounds::next(double seconds) {
  constexpr int kLeast = 5;
  if (rounds_ <= 0) {
    for (std::vector<double>& piece : seconds_) piece.clear();  // of warming up
    begin_ = Trace::now();
  }
  double taken = Trace::now() - begin_;
  world_.communicator().all_reduce({&taken, {1}, DType::f64}, ReduceOp::max);
  const int done = rounds_++;
  return done < kLeast || taken * (done + 1) / done < seconds;
}

void TimingRounds::time(int piece, const std::function<void()>& work) {
  const double begin = Trace::now();
  work();
  seconds_[static_cast<size_t>(piece)].push_back(Trace::now() - begin);
}

void TimingRounds::time_on_some(int piece, bool takes_part, const std::function<void()>& work) {
  world_.communicator().barrier();
  if (takes_part) time(piece, work);
  else seconds_[static_cast<size_t>(piece)].push_back(-1);
  world_.communicator().barrier();
}

std::vector<double> TimingRounds::means(int piece) const {
  std::vector<double> sums = seconds_[static_cast<size_t>(piece)], counts;
  for (double& seconds : sums) {
    counts.push_back(seconds < 0 ? 0 : 1);
    seconds = std::max(seconds, 0.0);
  }
  world_.communicator().all_reduce({sums.data(), {std::ssize(sums)}, DType::f64});
  world_.communicator().all_reduce({counts.data(), {std::ssize(counts)}, DType::f64});
  for (size_t i = 0; i < sums.size(); ++i) sums[i] /= std::max(1.0, counts[i]);
  return sums;
}

double TimingRounds::middle(int piece) const { return middle_of(means(piece)); }

double TimingRounds::middle_ratio(int piece, int of) const {
  std::vector<double> ratios = means(piece);
  const std::vector<double> base = means(of);
  for (size_t i = 0; i < ratios.size(); ++i) ratios[i] /= base[i];
  return middle_of(ratios);
}

}  // namespace triax
