#include "triax/optim/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace triax {
namespace {

LrSchedule schedule(Decay decay) {
  return {.decay = decay, .peak = 1.0, .minimum = 0.1, .warmup_steps = 10, .decay_steps = 110};
}

TEST(LrSchedule, WarmsUpLinearlyToThePeak) {
  for (const Decay decay : {Decay::cosine, Decay::linear, Decay::constant, Decay::inverse_sqrt, Decay::wsd}) {
    EXPECT_NEAR(schedule(decay).at(1), 0.1, 1e-12);
    EXPECT_NEAR(schedule(decay).at(5), 0.5, 1e-12);
    EXPECT_NEAR(schedule(decay).at(10), 1.0, 1e-12);
  }
}

TEST(LrSchedule, HasTheValuesOfEachDecay) {
  EXPECT_NEAR(schedule(Decay::cosine).at(60), 0.55, 1e-12);
  EXPECT_NEAR(schedule(Decay::cosine).at(35), 0.1 + 0.9 * 0.5 * (1 + std::sqrt(0.5)), 1e-12);
  EXPECT_NEAR(schedule(Decay::linear).at(60), 0.55, 1e-12);
  EXPECT_NEAR(schedule(Decay::constant).at(100000), 1.0, 1e-12);
  EXPECT_NEAR(schedule(Decay::inverse_sqrt).at(40), 0.5, 1e-12);
  EXPECT_NEAR(schedule(Decay::inverse_sqrt).at(1000000), 0.1, 1e-12);
  EXPECT_NEAR(schedule(Decay::wsd).at(88), 1.0, 1e-12);
  EXPECT_NEAR(schedule(Decay::wsd).at(99), 0.55, 1e-12);
}

TEST(LrSchedule, StaysAtTheMinimumAfterTheDecay) {
  for (const Decay decay : {Decay::cosine, Decay::linear, Decay::wsd}) {
    EXPECT_NEAR(schedule(decay).at(110), 0.1, 1e-12);
    EXPECT_NEAR(schedule(decay).at(5000), 0.1, 1e-12);
  }
}

TEST(LrSchedule, WorksWithoutWarmUp) {
  LrSchedule s = schedule(Decay::cosine);
  s.warmup_steps = 0;
  EXPECT_GT(s.at(1), 0.99);
  EXPECT_LE(s.at(1), 1.0);
}

}  // namespace
}  // namespace triax
