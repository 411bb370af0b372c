// Simulated time against published formulas and published tables.
#include <gtest/gtest.h>

#include "triax/pipeline/schedule_properties.h"

namespace triax {
namespace {

double makespan(ScheduleKind kind, const PipelineShape& shape, const ActionTimes& times) {
  return simulate(schedules(kind, shape), shape, times).makespan;
}

TEST(Simulate, IdleTimeIsThePublishedFormula) {
  for (const ActionTimes& times : {ActionTimes{1, 1, 1, 0}, ActionTimes{2, 2.5, 1.5, 0}})
    for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b,
                                    ScheduleKind::interleaved_1f1b, ScheduleKind::zb_h1})
      for (int p = 1; p <= 8; ++p)
        for (int v = 1; v <= (kind == ScheduleKind::interleaved_1f1b ? 4 : 1); ++v)
          for (int m = v > 1 ? p : 1; m <= 24; m += v > 1 ? p : 1) {
            const PipelineShape shape{p, v, m};
            const double work = m * v * (times.forward + times.backward_input + times.backward_weight);
            const Simulation result = simulate(schedules(kind, shape), shape, times);
            const double bubble = published_bubble(kind, shape, times);
            ASSERT_NEAR(result.makespan, work + bubble, 1e-9) << name_of(kind) << ' ' << p << ' ' << v << ' ' << m;
            ASSERT_NEAR(result.bubble(), bubble / (work + bubble), 1e-9);
          }
}

TEST(Simulate, FormulasAreThoseOfThePaper) {
  const ActionTimes t{1, 1, 1, 0};
  EXPECT_NEAR(published_bubble_fraction(ScheduleKind::gpipe, {4, 1, 8}, t), 3.0 / 8, 1e-12);
  EXPECT_NEAR(published_bubble_fraction(ScheduleKind::one_f_one_b, {4, 1, 8}, t), 3.0 / 8, 1e-12);
  EXPECT_NEAR(published_bubble_fraction(ScheduleKind::interleaved_1f1b, {4, 2, 8}, t), 3.0 / 16, 1e-12);
  EXPECT_NEAR(published_bubble_fraction(ScheduleKind::zb_h1, {4, 1, 8}, t), 3.0 / 24, 1e-12);
  EXPECT_NEAR(published_bubble(ScheduleKind::zb_h1, {4, 1, 8}, {2, 3, 1, 0}), 3 * (2 + 3 - 1), 1e-12);
}

TEST(Simulate, AMessageTakesItsTime) {
  // One micro-batch over two ranks: forward, hop, forward, backward, hop, backward.
  EXPECT_NEAR(makespan(ScheduleKind::one_f_one_b, {2, 1, 1}, {1, 2, 3, 0.25}), 2 * (1 + 5) + 2 * 0.25, 1e-12);
  // Hidden behind computation where another micro-batch is there to compute.
  EXPECT_NEAR(makespan(ScheduleKind::gpipe, {2, 1, 4}, {1, 1, 1, 0.5}), 5 * 3 + 2 * 0.5, 1e-12);
}

TEST(Simulate, SpansTellWhenEachActionRan) {
  const PipelineShape shape{2, 1, 1};
  const auto lists = schedules(ScheduleKind::gpipe, shape);
  const Simulation result = simulate(lists, shape, ActionTimes{1, 1, 1, 0});
  ASSERT_EQ(result.spans.size(), 2u);
  for (size_t i = 0; i < lists[1].size(); ++i)
    if (lists[1][i].kind == ActionKind::backward) {
      EXPECT_EQ(result.spans[1][i].start, 2);
      EXPECT_EQ(result.spans[1][i].end, 4);
    }
  EXPECT_EQ(result.busy[0], 3);
  EXPECT_EQ(result.idle(0), 3);
}

// An uneven pipeline is as slow as its slowest stage, and the stage before it fills and drains it.
TEST(Simulate, StagesMayDiffer) {
  const PipelineShape shape{3, 1, 30};
  const Simulation result = simulate(schedules(ScheduleKind::one_f_one_b, shape), shape,
                                     [](int rank, const Action& a) { return a.is_message() ? 0.0 : rank == 1 ? 2.0 : 1.0; });
  EXPECT_NEAR(result.makespan, 30 * 4 + 2, 1e-9);
}

// Qi et al. 2023 (arXiv 2401.10241): bubble rates of table 5 from the profiled times of table 9.
// One layer per chunk for 1F1B-I, as the published numbers suggest: v = 3, 4, 3, 2.
struct Published {
  int p, v, m;
  ActionTimes times;
  double one_f_one_b, interleaved, zb_h1;
};
constexpr Published kTable5[] = {
    {8, 3, 24, {18.522, 18.086, 9.337, 0.601}, 0.2431, 0.1055, 0.1585},
    {8, 3, 32, {18.513, 18.086, 9.331, 0.626}, 0.1985, 0.0818, 0.1242},
    {8, 3, 64, {18.546, 18.097, 9.321, 0.762}, 0.1240, 0.0443, 0.0674},
    {8, 4, 24, {29.718, 29.444, 19.927, 0.527}, 0.2347, 0.0808, 0.1323},
    {8, 4, 32, {29.802, 29.428, 19.530, 0.577}, 0.1898, 0.0628, 0.1045},
    {8, 4, 64, {29.935, 29.621, 19.388, 0.535}, 0.1091, 0.0320, 0.0554},
    {16, 3, 48, {11.347, 11.248, 8.132, 0.377}, 0.2552, 0.1104, 0.1397},
    {16, 3, 64, {11.307, 11.254, 8.101, 0.379}, 0.2082, 0.0852, 0.1088},
    {16, 3, 128, {11.325, 11.308, 8.109, 0.378}, 0.1251, 0.0445, 0.0576},
    {32, 2, 96, {10.419, 10.207, 7.715, 0.408}, 0.2646, 0.1493, 0.1421},
    {32, 2, 128, {10.408, 10.204, 7.703, 0.408}, 0.2168, 0.1164, 0.1106},
    {32, 2, 256, {10.402, 10.248, 7.698, 0.460}, 0.1352, 0.0624, 0.0594},
};

TEST(Simulate, ReproducesTable5OfZeroBubble) {
  for (const Published& row : kTable5) {
    const ActionTimes& t = row.times;
    const double work = row.m * (t.forward + t.backward_input + t.backward_weight);
    const auto rate = [&](ScheduleKind kind, int v) {
      const ActionTimes chunk{t.forward / v, t.backward_input / v, t.backward_weight / v, t.communication};
      return 1 - work / makespan(kind, {row.p, v, row.m}, chunk);
    };
    EXPECT_NEAR(rate(ScheduleKind::one_f_one_b, 1), row.one_f_one_b, 1e-4) << row.p << ' ' << row.m;
    EXPECT_NEAR(rate(ScheduleKind::zb_h1, 1), row.zb_h1, 1e-4) << row.p << ' ' << row.m;
    EXPECT_NEAR(rate(ScheduleKind::interleaved_1f1b, row.v), row.interleaved, 0.004) << row.p << ' ' << row.m;
  }
}

}  // namespace
}  // namespace triax
