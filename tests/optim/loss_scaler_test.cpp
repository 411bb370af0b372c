#include "triax/optim/loss_scaler.h"

#include <gtest/gtest.h>

#include "triax/base/error.h"

namespace triax {
namespace {

LossScaling small() { return {.initial = 1024, .minimum = 128, .window = 3, .hysteresis = 2}; }

// The scales after steps of which '!' are those that overflowed.
std::vector<double> scales_after(LossScaler& scaler, const std::string& steps) {
  std::vector<double> scales;
  int64_t step = 0;
  for (const char c : steps) {
    scaler.update(++step, c == '!');
    scales.push_back(scaler.scale());
  }
  return scales;
}

TEST(LossScaler, DoesNotScaleUnlessAsked) {
  LossScaler scaler;
  EXPECT_FALSE(scaler.active());
  EXPECT_EQ(scales_after(scaler, "..."), (std::vector<double>{1, 1, 1}));
}

TEST(LossScaler, DoublesAfterCleanStepsAndHalvesOnOverflows) {
  LossScaler scaler(small());
  EXPECT_EQ(scaler.scale(), 1024);
  EXPECT_EQ(scales_after(scaler, "..!...!!...."),
            (std::vector<double>{1024, 1024, 1024, 1024, 1024, 2048, 2048, 1024, 1024, 1024, 2048, 2048}));
  EXPECT_EQ(scaler.state().skipped_steps, 3);
}

TEST(LossScaler, TheHysteresisIsUsedUpUntilTheScaleDoubles) {
  LossScaler scaler(small());
  EXPECT_EQ(scales_after(scaler, "!.!.!...!!"),
            (std::vector<double>{1024, 1024, 512, 512, 256, 256, 256, 512, 512, 256}));
}

TEST(LossScaler, AFixedScaleStays) {
  LossScaler scaler({.fixed = 8, .initial = 1024, .window = 1});
  EXPECT_EQ(scales_after(scaler, ".!!!!.."), std::vector<double>(7, 8.0));
  EXPECT_EQ(scaler.state().skipped_steps, 4);
}

TEST(LossScaler, SaysWhereTheScaleCannotFallFurther) {
  LossScaler scaler(small());
  EXPECT_EQ(scales_after(scaler, "!!!!").back(), 128);
  try {
    scaler.update(17, true);
    FAIL() << "a scale below the minimum went unnoticed";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("step 17"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("train.min_loss_scale = 128"), std::string::npos) << error.what();
  }
}

TEST(LossScaler, GoesOnFromASavedState) {
  const std::string steps = "..!.!!...!..";
  LossScaler whole(small());
  const std::vector<double> expected = scales_after(whole, steps);
  for (size_t saved = 0; saved < steps.size(); ++saved) {
    LossScaler first(small()), second(small());
    std::vector<double> scales = scales_after(first, steps.substr(0, saved));
    second.resume(first.state());
    for (const double scale : scales_after(second, steps.substr(saved))) scales.push_back(scale);
    EXPECT_EQ(scales, expected) << "saved after " << saved;
    EXPECT_EQ(second.state().skipped_steps, 4);
  }
}

TEST(LossScaler, StartsAnewFromARunThatDidNotScale) {
  LossScaler scaler(small()), other;
  scaler.resume({.skipped_steps = 3});
  EXPECT_EQ(scaler.scale(), 1024);
  EXPECT_EQ(scaler.state().skipped_steps, 3);
  other.resume({.scale = 64, .skipped_steps = 3});
  EXPECT_FALSE(other.active());
  EXPECT_EQ(other.state().skipped_steps, 3);
}

}  // namespace
}  // namespace triax
