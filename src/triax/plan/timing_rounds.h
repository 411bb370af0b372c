// Timing several pieces of work on a machine that others disturb.
#pragma once

#include <functional>
#include <vector>

#include "triax/comm/world.h"

namespace triax {

// Every round times every piece once, so that a disturbance falls on all of them alike and not on the one that happened
// to be measured then. The first round only warms up. All ranks call the same functions in the same order.
class TimingRounds {
 public:
  TimingRounds(World& world, int pieces) : world_(world), seconds_(static_cast<size_t>(pieces)) {}

  // Begins a round, after the ranks have met; false when `seconds` are over and there were at least five.
  bool next(double seconds);
  // Runs `work` on the ranks that take part; the others wait for them, and all go on together.
  void time(int piece, const std::function<void()>& work);
  void time_on_some(int piece, bool takes_part, const std::function<void()>& work);

  // The middle of the rounds, of the mean of the ranks that took part; collective.
  double middle(int piece) const;
  // The middle of the rounds' ratios.
  double middle_ratio(int piece, int of) const;

 private:
  std::vector<double> means(int piece) const;

  World& world_;
  std::vector<std::vector<double>> seconds_;  // by piece and round; negative: took no part
  double begin_ = 0;
  int rounds_ = -1;  // begun, the first not counted
};

}  // namespace triax
