// The meter changes no bit, counts every call, and traces what happened.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "parallel/ranks.h"
#include "triax/comm/metered_communicator.h"

namespace triax {
namespace {

using test::world;
using Numbers = std::vector<float>;

Tensor view(Numbers& x) { return {x.data(), {static_cast<int64_t>(x.size())}, DType::f32}; }

Numbers numbers(int rank, size_t count) {
  Numbers x(count);
  for (size_t i = 0; i < count; ++i) x[i] = static_cast<float>((i * 37 + static_cast<size_t>(rank) * 11) % 101) / 7.0f;
  return x;
}

// Everything a Communicator can do, with results of all.
std::vector<Numbers> use(Communicator& group) {
  const int n = group.size(), rank = group.rank(), next = (rank + 1) % n, previous = (rank + n - 1) % n;
  const auto size = static_cast<size_t>(n);
  std::vector<Numbers> results = {numbers(rank, 1000), numbers(rank, 300 * size), Numbers(300),
                                  numbers(rank, 50),   Numbers(50 * size),        numbers(rank, 7),
                                  Numbers(64),         Numbers(64)};
  Request reduced = group.start_all_reduce(view(results[0]), ReduceOp::sum);
  Request scattered = group.start_reduce_scatter(view(results[1]), view(results[2]));
  group.all_gather(view(results[3]), view(results[4]));
  group.broadcast(view(results[5]), n - 1);
  scattered.wait();
  reduced.wait();
  Request first = group.start_receive(view(results[6]), previous, 5), second = group.start_receive(view(results[7]), previous, 5);
  Numbers message = numbers(rank, 64), other = numbers(rank + 100, 64);
  group.send(view(message), next, 5);
  group.send(view(other), next, 5);
  first.wait();
  second.wait();
  group.barrier();
  results.erase(results.begin() + 1);  // what is left of the scattered tensor is not defined
  return results;
}

TEST(Metered, ChangesNothingAndCountsAll) {
  Communicator& plain = world().communicator();
  MeteredCommunicator metered(plain, {.group = "world"});
  EXPECT_EQ(metered.rank(), plain.rank());
  EXPECT_EQ(metered.size(), plain.size());
  EXPECT_EQ(use(metered), use(plain));
  const int64_t n = plain.size();
  CommunicationVolume expected{.ranks = static_cast<int>(n)};
  expected.counts = {{{1, 4000}, {1, 1200 * n}, {1, 200 * n}, {1, 28}, {2, 512}, {2, 512}}};
  EXPECT_EQ(metered.volume(), expected);
  EXPECT_NEAR(metered.volume().bytes_sent(),
              static_cast<double>(n - 1) / static_cast<double>(n) * static_cast<double>(2 * 4000 + 1400 * n + 28) + 512, 1e-9);
  metered.reset_volume();
  EXPECT_EQ(metered.volume(), (CommunicationVolume{.ranks = static_cast<int>(n)}));
}

TEST(Metered, TracesOperationsAndWaits) {
  Communicator& plain = world().communicator();
  Trace trace;
  trace.record_steps(2, 2);
  MeteredCommunicator metered(plain, {.group = "pipeline", .category = TraceCategory::tensor, .trace = &trace});
  trace.begin_step(1);
  use(metered);
  EXPECT_TRUE(trace.spans().empty());
  trace.begin_step(2);
  trace.set_place(4, 1);
  EXPECT_EQ(use(metered), use(plain));
  trace.stop();
  std::vector<std::string> names;
  for (const TraceSpan& span : trace.spans()) {
    names.emplace_back(std::string(name_of(span.category)) + ' ' + std::string(span.name));
    EXPECT_EQ(span.group, "pipeline");
    EXPECT_LE(span.start, span.end);
    if (span.name == "barrier") continue;
    EXPECT_EQ(span.micro_batch, 4);
    EXPECT_EQ(span.chunk, 1);
    EXPECT_EQ(span.bytes >= 0, span.category != TraceCategory::idle);
    EXPECT_EQ(span.arrow != 0, span.category == TraceCategory::send || span.category == TraceCategory::receive);
  }
  EXPECT_EQ(names, (std::vector<std::string>{
                       "tensor all_gather", "idle wait all_gather", "tensor broadcast", "idle wait broadcast",
                       "tensor reduce_scatter", "idle wait reduce_scatter", "tensor all_reduce", "idle wait all_reduce",
                       "send send", "idle wait send", "send send", "idle wait send", "receive receive",
                       "idle wait receive", "receive receive", "idle wait receive", "idle barrier"}));
}

// The arrows of a rank's sends are those of the next rank's receives, in order, and all different.
TEST(Metered, SendAndReceiveShareAnArrow) {
  Communicator& plain = world().communicator();
  Trace trace;
  trace.record_steps(0, 0);
  trace.begin_step(0);
  MeteredCommunicator metered(plain, {.group = "pipeline", .trace = &trace});
  use(metered);
  use(metered);
  std::vector<int64_t> sent, received;
  for (const TraceSpan& span : trace.spans()) {
    if (span.category == TraceCategory::send) sent.push_back(static_cast<int64_t>(span.arrow));
    if (span.category == TraceCategory::receive) received.push_back(static_cast<int64_t>(span.arrow));
  }
  ASSERT_EQ(sent.size(), 4u);
  ASSERT_EQ(received.size(), 4u);
  std::vector<int64_t> all(4 * static_cast<size_t>(plain.size()));
  plain.all_gather({sent.data(), {4}, DType::i64}, {all.data(), {static_cast<int64_t>(all.size())}, DType::i64});
  EXPECT_EQ(std::set<int64_t>(all.begin(), all.end()).size(), all.size());
  const int previous = (plain.rank() + plain.size() - 1) % plain.size();
  EXPECT_TRUE(std::equal(received.begin(), received.end(), all.begin() + 4 * previous));
}

}  // namespace
}  // namespace triax
