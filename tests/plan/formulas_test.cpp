// Closed forms against the numbers in the papers.
#include <gtest/gtest.h>

#include "plan/published.h"
#include "triax/pipeline/schedule_properties.h"
#include "triax/plan/formulas.h"

namespace triax {
namespace {

constexpr int64_t kSequence = 2048;

TEST(Formulas, ParametersOfTable1) {
  for (const WeakScalingRow& row : kWeakScaling) {
    const double billions = published_parameters(row.model(), kSequence) / 1e9;
    EXPECT_NEAR(billions, row.parameters_billion, 0.06) << row.hidden;
    // The trainer's own count knows the final norm too, which Eq. 2 leaves out.
    EXPECT_NEAR(static_cast<double>(row.model().num_parameters()) / 1e9, billions, 2.1e-9 * 2 * static_cast<double>(row.hidden));
  }
}

TEST(Formulas, DaysOfTheText) {
  EXPECT_NEAR(published_days(300e9, 175e9, 1024, 140e12), 34, 0.5);
  EXPECT_NEAR(published_days(450e9, 1008e9, 3072, 163e12), 84, 0.5);
}

TEST(Formulas, DaysOfTable2) {
  for (const DaysRow& row : kDays) {
    const double steps = 300e9 / static_cast<double>(row.batch * kSequence);
    const double step_seconds = published_flops(row.model(), kSequence, row.batch) / (static_cast<double>(row.devices) * row.tflops * 1e12);
    EXPECT_NEAR(steps * step_seconds / 86400, row.days, 1.01) << row.parameters_billion << ' ' << row.devices;
  }
}

TEST(Formulas, AggregateOfTable1) {
  const double petaflops[] = {4.4, 8.8, 18.2, 34.6, 70.8, 143.8, 227.1, 297.4, 410.2, 502.0};
  for (size_t i = 0; i < std::size(kWeakScaling); ++i)
    EXPECT_NEAR(static_cast<double>(kWeakScaling[i].devices) * kWeakScaling[i].tflops / 1e3, petaflops[i], 0.006 * petaflops[i]);
}

TEST(Formulas, MtNlgCountsItsFlopsWithRecomputation) {
  const ModelConfig model = published_model(105, 128, 20480);
  const double flops = published_flops(model, kSequence, 1920);
  EXPECT_NEAR(flops / (2240 * 60.1) / 1e12, 125.7, 0.1);
  EXPECT_NEAR(flops / (2800 * 50.2) / 1e12, 120.4, 0.1);
  EXPECT_NEAR(flops / (3360 * 44.4) / 1e12, 113.5, 0.1);
}

// Table 5 of Korthikanti et al.: utilisation from the published times. 22B is rounded to 1.10 s.
TEST(Formulas, UtilisationOfSelectiveRecomputation) {
  for (const RecomputationRow& row : kRecomputation) {
    const double peak = static_cast<double>(row.devices) * 312e12 * row.selective_seconds;
    const double slack = row.selective_seconds < 2 ? 0.25 : 0.06;
    EXPECT_NEAR(100 * published_model_flops(row.model(), kSequence, row.batch) / peak, row.mfu, slack) << row.name;
    EXPECT_NEAR(100 * published_selective_flops(row.model(), kSequence, row.batch) / peak, row.hfu, slack) << row.name;
  }
}

TEST(Formulas, TheTrainersFlopsAreTheSame) {
  const ModelConfig model = published_model(96, 96, 12288);
  EXPECT_NEAR(model.flops_per_token(kSequence) * 64 * kSequence / published_model_flops(model, kSequence, 64), 1, 1e-12);
}

TEST(Formulas, ActivationsOfALayer) {
  // GPT-3: sbh is 1 with b = 1 / (s h).
  const double s = 2048, h = 12288, a = 96, b = 1 / (s * h), scores = 5 * a * s / h;
  EXPECT_NEAR(scores, 80, 1e-9);
  EXPECT_NEAR(5 * 128 * s / 20480, 64, 1e-9);
  const auto bytes = [&](double t, Recomputation r, bool sp) { return layer_activation_bytes({s, b, h, a, t}, r, sp); };
  EXPECT_NEAR(bytes(1, Recomputation::none, false), 34 + scores, 1e-9);
  EXPECT_NEAR(bytes(8, Recomputation::none, false), 10 + 24.0 / 8 + scores / 8, 1e-9);
  EXPECT_NEAR(bytes(8, Recomputation::none, true), 34.0 / 8 + scores / 8, 1e-9);
  EXPECT_NEAR(bytes(8, Recomputation::selective, false), 10 + 24.0 / 8, 1e-9);
  EXPECT_NEAR(bytes(8, Recomputation::selective, true), 34.0 / 8, 1e-9);
  EXPECT_NEAR(bytes(8, Recomputation::full, false), 2, 1e-9);
  // "70 % (GPT-3), 65 % (MT-NLG)" of the activations are the attention's.
  EXPECT_NEAR(scores / (34 + scores), 0.70, 0.005);
  EXPECT_NEAR(64.0 / (34 + 64), 0.65, 0.005);
}

// The activations of the first stage, from the schedules themselves.
TEST(Formulas, FirstStageKeepsAsManyLayersAsTheScheduleHasInFlight) {
  for (const int p : {2, 4, 8})
    for (const int v : {1, 2, 4}) {
      const double layers = 96;
      const std::vector<Action> list = schedule(ScheduleKind::interleaved_1f1b, {p, v, 4 * p}, 0);
      const double kept = peak_in_flight(list) * layers / (p * v);
      EXPECT_NEAR(kept, first_stage_layers(layers, p, v), 1e-9) << p << ' ' << v;
    }
}

TEST(Formulas, ZeroOfThePaper) {
  const double expected[] = {120, 31.4, 16.6, 1.9};
  for (int stage = 0; stage <= 3; ++stage) {
    EXPECT_NEAR(zero_bytes(stage, 7.5e9, 64) / 1e9, expected[stage], 0.05) << stage;
    EXPECT_NEAR(zero_bytes(stage, 7.5e9, 1) / 1e9, 120, 1e-9);  // nobody to share with
  }
  EXPECT_NEAR(zero_bytes(0, 530e9, 1, 16) / 1e12, 10.6, 0.01);  // MT-NLG: 20 bytes, above 10 TB
  EXPECT_EQ(zero_volume(2), 2);
  EXPECT_EQ(zero_volume(3), 3);
}

TEST(Formulas, CheckpointMemoryIsLeastAtTheRoot) {
  const double best = best_checkpoint_interval(64, 1, 4);
  EXPECT_NEAR(best, 16, 1e-12);
  const double least = checkpoint_memory(best, 64, 1, 4);
  for (double c = 1; c <= 64; ++c) EXPECT_GE(checkpoint_memory(c, 64, 1, 4), least);
}

// Whatever the times of forward and backward: over 3000 random shapes, the simulator and the closed form agree.
TEST(Formulas, SimulatorAgreesWithThePublishedBubble) {
  uint64_t state = 1;
  const auto random = [&](int low, int high) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + static_cast<int>((state >> 33) % static_cast<uint64_t>(high - low + 1));
  };
  for (int i = 0; i < 3000; ++i) {
    const auto kind = static_cast<ScheduleKind>(random(0, 3));
    const int p = random(1, 10), v = kind == ScheduleKind::interleaved_1f1b ? random(1, 4) : 1;
    const PipelineShape shape{p, v, v > 1 ? p * random(1, 4) : random(1, 30)};
    // ZB-H1's formula is for T_W <= T_B and T_W <= T_F, which is what networks have.
    const double weight = random(1, 100);
    const ActionTimes times{weight + random(0, 50), weight + random(0, 50), weight, 0};
    const double work = shape.micro_batches * v * (times.forward + times.backward_input + times.backward_weight);
    const double makespan = simulate(schedules(kind, shape), shape, times).makespan;
    const double expected = work + published_bubble(kind, shape, times);
    // With different T_F and T_B the interleaved order waits a little more than published, never less.
    ASSERT_GE(makespan, expected * (1 - 1e-9)) << name_of(kind) << ' ' << p << ' ' << v << ' ' << shape.micro_batches;
    if (v == 1) {
      ASSERT_NEAR(makespan, expected, 1e-6 * expected) << name_of(kind) << ' ' << p << ' ' << shape.micro_batches;
    } else {
      ASSERT_LE(makespan, expected * 1.25);
    }
  }
}

TEST(Formulas, BestIntervalBetweenCheckpoints) {
  EXPECT_NEAR(best_save_interval(50, 3600 * 10), std::sqrt(2 * 50 * 36000.0), 1e-9);
}

}  // namespace
}  // namespace triax
