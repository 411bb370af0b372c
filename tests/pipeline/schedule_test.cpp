// Properties of every schedule over thousands of (kind, p, v, m).
#include "triax/pipeline/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "triax/base/error.h"
#include "triax/comm/nccl_communicator.h"
#include "triax/pipeline/schedule_properties.h"

namespace triax {
namespace {

constexpr ScheduleKind kKinds[] = {ScheduleKind::gpipe, ScheduleKind::one_f_one_b,
                                   ScheduleKind::interleaved_1f1b, ScheduleKind::zb_h1,
                                   ScheduleKind::zb_h2};

bool fits(ScheduleKind kind, const PipelineShape& shape) {
  if (shape.virtual_pipeline == 1) return true;
  return kind == ScheduleKind::interleaved_1f1b && shape.micro_batches % shape.pipeline_parallel == 0;
}

std::string text(ScheduleKind kind, const PipelineShape& s) {
  return fmt::format("{} p {} v {} m {}", name_of(kind), s.pipeline_parallel, s.virtual_pipeline, s.micro_batches);
}

template <typename Body>
int for_every_shape(Body&& body) {
  int shapes = 0;
  for (const ScheduleKind kind : kKinds)
    for (const int p : {1, 2, 3, 4, 5, 6, 7, 8, 12, 16})
      for (const int v : {1, 2, 3, 4})
        for (int m = 1; m <= 4 * p + 8 && m <= 40; ++m)
          if (const PipelineShape shape{p, v, m}; fits(kind, shape)) {
            ++shapes;
            body(kind, shape);
          }
  return shapes;
}

std::vector<Action> computations(const std::vector<Action>& list) {
  std::vector<Action> result;
  for (const Action& action : list)
    if (!action.is_message()) result.push_back(action);
  return result;
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Schedule, EveryListIsRight) {
  const int shapes = for_every_shape([](ScheduleKind kind, const PipelineShape& shape) {
    EXPECT_NO_THROW(verify(schedules(kind, shape), shape)) << text(kind, shape);
  });
  EXPECT_GT(shapes, 1000);
}

TEST(Schedule, EveryForwardOnlyListIsRight) {
  for (int p = 1; p <= 8; ++p)
    for (int v = 1; v <= 4; ++v)
      for (int m = 1; m <= 20; ++m) {
        const PipelineShape shape{p, v, m};
        EXPECT_NO_THROW(verify(forward_only_schedules(shape), shape, true)) << p << ' ' << v << ' ' << m;
      }
}

TEST(Schedule, ActivationsInFlightAreBoundedAsPublished) {
  for_every_shape([](ScheduleKind kind, const PipelineShape& shape) {
    const int p = shape.pipeline_parallel, v = shape.virtual_pipeline, m = shape.micro_batches;
    for (int rank = 0; rank < p; ++rank) {
      const std::vector<Action> list = schedule(kind, shape, rank);
      int expected = m;
      if (kind != ScheduleKind::gpipe) expected = std::min(m, p - rank);
      if (kind == ScheduleKind::zb_h2) expected = std::min(m, 2 * (p - rank) - 1);
      // One more than the warm-up; on rank 0, in stashes of a whole rank, p (1 + (p - 1) / (p v))
      // (Korthikanti et al. 2022, section 4.2.3).
      if (v > 1) expected = std::min(m * v, 2 * (p - rank - 1) + (v - 1) * p + 1);
      EXPECT_EQ(peak_in_flight(list), expected) << text(kind, shape) << " rank " << rank;
    }
  });
}

TEST(Schedule, ZeroBubbleKeepsAsMuchAsPublished) {
  // Worker i (from 1) of ZB-H1: (p - i + 1) M_B + (i - 1) M_W. Qi et al. 2023, section 2.3.
  for (int p = 1; p <= 8; ++p)
    for (int m = p; m <= 3 * p; ++m)
      for (int rank = 0; rank < p; ++rank) {
        const std::vector<Action> list = schedule(ScheduleKind::zb_h1, {p, 1, m}, rank);
        const double expected = (p - rank) * 1.0 + std::min(rank, m - (p - rank)) * 0.4;
        EXPECT_NEAR(peak_stash(list, 1.0, 0.4), expected, 1e-9) << p << ' ' << m << ' ' << rank;
      }
  // Of ZB-H2: (2 p - 2 i + 1) M_B + (2 i - 2) M_W.
  for (int p = 1; p <= 8; ++p)
    for (int m = 2 * p; m <= 4 * p; ++m)
      for (int rank = 0; rank < p; ++rank) {
        const double expected = 2 * (p - rank) - 1 + 2 * rank * 0.4;
        EXPECT_NEAR(peak_stash(schedule(ScheduleKind::zb_h2, {p, 1, m}, rank), 1.0, 0.4), expected, 1e-9) << p << ' ' << m << ' ' << rank;
      }
}

TEST(Schedule, BackwardsOfAChunkComeInOrderOfMicroBatches) {
  for_every_shape([](ScheduleKind kind, const PipelineShape& shape) {
    for (int rank = 0; rank < shape.pipeline_parallel; ++rank) {
      std::vector<int> next(static_cast<size_t>(shape.virtual_pipeline), 0);
      for (const Action& action : schedule(kind, shape, rank))
        if (action.kind == ActionKind::backward || action.kind == ActionKind::backward_weight) {
          ASSERT_EQ(action.micro_batch, next[static_cast<size_t>(action.chunk)]++) << text(kind, shape);
        }
    }
  });
}

// The picture of Narayanan et al. 2021, figure 4: p = 4, v = 2, m = 8, first and last device.
TEST(Schedule, InterleavedIsTheOneOfThePaper) {
  const auto picture = [](int rank) {
    std::string result;
    for (const Action& a : computations(schedule(ScheduleKind::interleaved_1f1b, {4, 2, 8}, rank)))
      result += fmt::format("{}{}{} ", a.kind == ActionKind::forward ? 'F' : 'B', a.micro_batch + 1, a.chunk ? "'" : "");
    return result;
  };
  EXPECT_EQ(picture(0), "F1 F2 F3 F4 F1' F2' F3' F4' F5 F6 F7 B1' F8 B2' F5' B3' F6' B4' F7' B1 F8' B2 "
                        "B3 B4 B5' B6' B7' B8' B5 B6 B7 B8 ");
  EXPECT_EQ(picture(3), "F1 F2 F3 F4 F1' B1' F2' B2' F3' B3' F4' B4' F5 B1 F6 B2 F7 B3 F8 B4 F5' B5' F6' B6' "
                        "F7' B7' F8' B8' B5 B6 B7 B8 ");
}

TEST(Schedule, OneChunkInterleavedIs1F1B) {
  EXPECT_EQ(schedules(ScheduleKind::interleaved_1f1b, {4, 1, 7}), schedules(ScheduleKind::one_f_one_b, {4, 1, 7}));
}

TEST(Schedule, AListInFull) {
  const std::vector<Action> list = schedule(ScheduleKind::one_f_one_b, {2, 1, 2}, 1);
  std::string all;
  for (const Action& action : list) all += to_string(action) + "\n";
  EXPECT_EQ(all,
            "start_receive activation of micro-batch 0, chunk 0, from rank 0\n"
            "wait_receive activation of micro-batch 0, chunk 0, from rank 0\n"
            "start_receive activation of micro-batch 1, chunk 0, from rank 0\n"
            "forward of micro-batch 0, chunk 0\n"
            "backward of micro-batch 0, chunk 0\n"
            "start_send gradient of micro-batch 0, chunk 0, to rank 0\n"
            "wait_receive activation of micro-batch 1, chunk 0, from rank 0\n"
            "forward of micro-batch 1, chunk 0\n"
            "backward of micro-batch 1, chunk 0\n"
            "start_send gradient of micro-batch 1, chunk 0, to rank 0\n"
            "wait_send gradient of micro-batch 0, chunk 0, to rank 0\n"
            "wait_send gradient of micro-batch 1, chunk 0, to rank 0\n");
}

TEST(Schedule, NothingIsSentOnOneRank) {
  for (const Action& action : schedule(ScheduleKind::interleaved_1f1b, {1, 3, 4}, 0))
    EXPECT_FALSE(action.is_message());
}

TEST(Schedule, TagsStayWithinWhatMpiOffers) {
  const PipelineShape shape{2, 4, 5000};
  EXPECT_NO_THROW(verify(schedules(ScheduleKind::interleaved_1f1b, shape), shape));
}

// NCCL's links have no tags: each must get its messages in the order in which they are sent.
TEST(Schedule, MessagesOfALinkAreReceivedInTheirOrder) {
  for_every_shape([](ScheduleKind kind, const PipelineShape& shape) {
    const int p = shape.pipeline_parallel;
    if (p == 1) return;
    std::map<MessageLink, std::vector<int>> sent, received;  // tags
    for (const MessageLink& link : message_links(p)) sent[link], received[link];
    ASSERT_EQ(sent.size(), 2 * static_cast<size_t>(p));
    for (int rank = 0; rank < p; ++rank)
      for (const Action& action : schedule(kind, shape, rank)) {
        const bool sends = action.kind == ActionKind::start_send;
        if (!sends && action.kind != ActionKind::start_receive) continue;
        auto& tags = sends ? sent : received;
        const MessageLink link{sends ? rank : action.peer, sends ? action.peer : rank, action.tag % 2};
        ASSERT_TRUE(tags.contains(link)) << text(kind, shape);
        tags[link].push_back(action.tag);
      }
    EXPECT_EQ(sent, received) << text(kind, shape);
  });
}

TEST(Schedule, ImpossibleShapesAreRefusedWithWhatWouldDo) {
  const auto refusal = [](ScheduleKind kind, PipelineShape shape) {
    return error_of([&] { schedule(kind, shape, 0); });
  };
  EXPECT_EQ(refusal(ScheduleKind::interleaved_1f1b, {4, 2, 10}),
            "schedule interleaved_1f1b needs the micro-batches of a step to be a multiple of pipeline_parallel "
            "= 4, not 10: 12 would do, and so would 8");
  EXPECT_EQ(refusal(ScheduleKind::interleaved_1f1b, {4, 2, 3}),
            "schedule interleaved_1f1b needs the micro-batches of a step to be a multiple of pipeline_parallel "
            "= 4, not 3: 4 would do");
  EXPECT_EQ(refusal(ScheduleKind::zb_h1, {4, 2, 8}),
            "schedule zb_h1 has one chunk per rank: set virtual_pipeline = 1, or use schedule interleaved_1f1b "
            "for virtual_pipeline = 2");
  EXPECT_EQ(refusal(ScheduleKind::gpipe, {4, 1, 0}), "a step needs at least 1 micro-batch per pipeline, not 0");
  EXPECT_EQ(refusal(ScheduleKind::gpipe, {0, 1, 1}), "pipeline_parallel = 0 must be at least 1");
  EXPECT_EQ(refusal(ScheduleKind::gpipe, {1, 0, 1}), "virtual_pipeline = 0 must be at least 1");
  EXPECT_EQ(error_of([] { schedule(ScheduleKind::gpipe, {2, 1, 1}, 2); }), "rank 2 is not in a pipeline of 2 ranks");
}

// verify() must notice what is wrong, or the tests above prove nothing.
TEST(Verify, NoticesEveryKindOfFault) {
  const PipelineShape shape{2, 1, 3};
  using Lists = std::vector<std::vector<Action>>;
  const Lists good = schedules(ScheduleKind::one_f_one_b, shape);
  ASSERT_NO_THROW(verify(good, shape));
  const auto find = [](std::vector<Action>& list, ActionKind kind) {
    return std::find_if(list.begin(), list.end(), [&](const Action& a) { return a.kind == kind; });
  };
  const auto fault = [&](const std::function<void(Lists&)>& spoil) {
    Lists bad = good;
    spoil(bad);
    return error_of([&] { verify(bad, shape); });
  };
  for (size_t rank = 0; rank < 2; ++rank)
    for (size_t i = 0; i < good[rank].size(); ++i)
      EXPECT_NE(fault([&](Lists& l) { l[rank].erase(l[rank].begin() + static_cast<std::ptrdiff_t>(i)); }), "no error")
          << "without " << to_string(good[rank][i]);
  for (size_t rank = 0; rank < 2; ++rank)
    for (size_t i = 0; i < good[rank].size(); ++i)
      EXPECT_NE(fault([&](Lists& l) { l[rank].push_back(good[rank][i]); }), "no error")
          << "twice " << to_string(good[rank][i]);
  EXPECT_NE(fault([&](Lists& l) { find(l[0], ActionKind::start_send)->tag = 77; }).find("meets"), std::string::npos);
  EXPECT_NE(fault([&](Lists& l) { find(l[0], ActionKind::start_send)->peer = 0; }), "no error");
  EXPECT_NE(fault([&](Lists& l) { find(l[0], ActionKind::forward)->micro_batch = 3; }), "no error");
}

TEST(Verify, NamesWhoWaitsForWhomInADeadlock) {
  const PipelineShape shape{2, 1, 1};
  // A sender that waits for its message to be taken before it goes on, facing one that does the same.
  const Action forward{.kind = ActionKind::forward};
  const auto message = [](ActionKind kind, Payload payload, int peer) {
    return Action{.kind = kind, .payload = payload, .peer = peer, .tag = 0};
  };
  const std::vector<std::vector<Action>> stuck = {
      {forward, message(ActionKind::start_send, Payload::activation, 1), message(ActionKind::wait_send, Payload::activation, 1),
       message(ActionKind::start_receive, Payload::gradient, 1), message(ActionKind::wait_receive, Payload::gradient, 1)},
      {message(ActionKind::start_send, Payload::gradient, 0), message(ActionKind::wait_send, Payload::gradient, 0),
       message(ActionKind::start_receive, Payload::activation, 0), message(ActionKind::wait_receive, Payload::activation, 0)}};
  EXPECT_EQ(error_of([&] { simulate(stuck, shape, ActionTimes{}); }),
            "the schedule deadlocks: rank 0 waits for rank 1 in wait_send activation of micro-batch 0, chunk 0, to "
            "rank 1; rank 1 waits for rank 0 in wait_send gradient of micro-batch 0, chunk 0, to rank 0");
}

}  // namespace
}  // namespace triax
