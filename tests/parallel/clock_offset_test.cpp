#include "triax/comm/clock_offset.h"

#include <gtest/gtest.h>

#include <cmath>

#include "parallel/ranks.h"
#include "triax/base/trace.h"

namespace triax {
namespace {

using test::world;

// All ranks are on one host here and read one clock.
TEST(ClockOffset, IsNoneOnOneHost) {
  const ClockOffset offset = estimate_clock_offset(world().communicator());
  EXPECT_LE(std::fabs(offset.seconds), offset.uncertainty);
  if (world().rank() == 0) {
    EXPECT_EQ(offset.seconds, 0);
  }
  EXPECT_LT(offset.uncertainty, 0.1);
}

// Answers on behalf of rank 0 with a clock that is ahead of this one.
class OtherClock final : public Communicator {
 public:
  static constexpr double kAhead = 1234.5;
  int rank() const override { return 1; }
  int size() const override { return 2; }
  Request start_all_reduce(const Tensor&, ReduceOp) override { return {}; }
  Request start_all_gather(const Tensor&, const Tensor&) override { return {}; }
  Request start_reduce_scatter(const Tensor&, const Tensor&) override { return {}; }
  Request start_broadcast(const Tensor&, int) override { return {}; }
  Request start_send(const Tensor&, int, int) override { return {}; }
  Request start_receive(const Tensor& x, int, int) override {
    *x.data<double>() = Trace::now() + kAhead;
    return {};
  }
  void barrier() override {}
};

TEST(ClockOffset, IsThatOfTheOtherClock) {
  OtherClock group;
  const ClockOffset offset = estimate_clock_offset(group, 20);
  EXPECT_NEAR(offset.seconds, OtherClock::kAhead, 1e-3);
  EXPECT_LE(std::fabs(offset.seconds - OtherClock::kAhead), offset.uncertainty + 1e-9);
}

}  // namespace
}  // namespace triax
