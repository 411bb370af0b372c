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

// Of ZB-H2 it is that of a rank from its first computation to its last: steps interlock.
TEST(Simulate, ZeroBubbleH2HasNoIdleTimeWhereAllTakeAsLong) {
  for (const ActionTimes& times : {ActionTimes{1, 1, 1, 0}, ActionTimes{2, 2.5, 1.5, 0}})
    for (int p = 1; p <= 8; ++p)
      for (int m = 2 * p; m <= 4 * p; ++m) {
        const auto lists = schedules(ScheduleKind::zb_h2, {p, 1, m});
        const double work = m * (times.forward + times.backward_input + times.backward_weight);
        const double bubble = published_bubble(ScheduleKind::zb_h2, {p, 1, m}, times);
        EXPECT_NEAR(longest_rank(lists, simulate(lists, {p, 1, m}, times)), work + bubble, 1e-9) << p << ' ' << m;
        EXPECT_NEAR(bubble, times.forward == 1 ? 0 : (p - 1) * 1.5, 1e-9);
      }
}

// Two cores: each computation takes as many times longer as there are ranks to a core.
double two_cores(int computing) { return std::max(1.0, computing / 2.0); }

TEST(Simulate, RanksThatShareCoresSlowEachOtherDown) {
  const ActionTimes t{1, 1, 1, 0};
  const auto duration = [](int, const Action& a) { return a.is_message() ? 0.0 : a.kind == ActionKind::backward ? 2.0 : 1.0; };
  for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::interleaved_1f1b})
    for (const int p : {1, 2, 3, 4})
      for (const int m : {1, 4, 12}) {
        const PipelineShape shape{p, kind == ScheduleKind::interleaved_1f1b && m % p == 0 ? 2 : 1, m};
        const auto lists = schedules(kind, shape);
        // With a core for each rank it is the other simulator.
        const Simulation own = simulate(lists, shape, t), shared = simulate(lists, shape, duration, [](int) { return 1.0; });
        ASSERT_NEAR(shared.makespan, own.makespan, 1e-9) << name_of(kind) << ' ' << p << ' ' << m;
        for (int r = 0; r < p; ++r) ASSERT_NEAR(shared.busy[static_cast<size_t>(r)], own.busy[static_cast<size_t>(r)], 1e-9);
        for (size_t r = 0; r < lists.size(); ++r)
          for (size_t i = 0; i < lists[r].size(); ++i)
            if (!lists[r][i].is_message()) {
              ASSERT_NEAR(shared.spans[r][i].start, own.spans[r][i].start, 1e-9);
            }
        // No work is lost: two cores that are never idle but when fewer than two ranks compute.
        const Simulation crowded = simulate(lists, shape, duration, two_cores);
        EXPECT_GE(crowded.makespan, own.makespan - 1e-9);
        EXPECT_GE(crowded.makespan, 3.0 * m * p * shape.virtual_pipeline / 2 - 1e-9);
      }
  // What slows down one rank alone is in its time too.
  const Simulation alone = simulate(schedules(ScheduleKind::gpipe, {1, 1, 3}), {1, 1, 3}, duration, [](int) { return 1.5; });
  EXPECT_NEAR(alone.makespan, 1.5 * 9, 1e-9);
}

TEST(Simulate, MessagesTakeAsLongOnSharedCores) {
  const auto duration = [](int, const Action& a) { return a.is_message() ? 0.25 : a.kind == ActionKind::backward ? 5.0 : 1.0; };
  const PipelineShape shape{2, 1, 1};
  EXPECT_NEAR(simulate(schedules(ScheduleKind::one_f_one_b, shape), shape, duration, two_cores).makespan, 2 * 6 + 2 * 0.25, 1e-12);
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
  double one_f_one_b, interleaved, zb_h1, zb_h2;
};
constexpr Published kTable5[] = {
    {8, 3, 24, {18.522, 18.086, 9.337, 0.601}, 0.2431, 0.1055, 0.1585, 0.1083},
    {8, 3, 32, {18.513, 18.086, 9.331, 0.626}, 0.1985, 0.0818, 0.1242, 0.0837},
    {8, 3, 64, {18.546, 18.097, 9.321, 0.762}, 0.1240, 0.0443, 0.0674, 0.0444},
    {8, 4, 24, {29.718, 29.444, 19.927, 0.527}, 0.2347, 0.0808, 0.1323, 0.0698},
    {8, 4, 32, {29.802, 29.428, 19.530, 0.577}, 0.1898, 0.0628, 0.1045, 0.0559},
    {8, 4, 64, {29.935, 29.621, 19.388, 0.535}, 0.1091, 0.0320, 0.0554, 0.0294},
    {16, 3, 48, {11.347, 11.248, 8.132, 0.377}, 0.2552, 0.1104, 0.1397, 0.0672},
    {16, 3, 64, {11.307, 11.254, 8.101, 0.379}, 0.2082, 0.0852, 0.1088, 0.0516},
    {16, 3, 128, {11.325, 11.308, 8.109, 0.378}, 0.1251, 0.0445, 0.0576, 0.0266},
    {32, 2, 96, {10.419, 10.207, 7.715, 0.408}, 0.2646, 0.1493, 0.1421, 0.0641},
    {32, 2, 128, {10.408, 10.204, 7.703, 0.408}, 0.2168, 0.1164, 0.1106, 0.0490},
    {32, 2, 256, {10.402, 10.248, 7.698, 0.460}, 0.1352, 0.0624, 0.0594, 0.0257},
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
    const auto h2 = schedules(ScheduleKind::zb_h2, {row.p, 1, row.m});
    EXPECT_NEAR(1 - work / longest_rank(h2, simulate(h2, {row.p, 1, row.m}, t)), row.zb_h2, 0.005) << row.p << ' ' << row.m;
  }
}

}  // namespace
}  // namespace triax
