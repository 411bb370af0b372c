// Every collective and element type against the serial computation, bit for bit.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "parallel/ranks.h"
#include "triax/base/error.h"
#include "triax/comm/mpi_communicator.h"
#include "triax/comm/reduce.h"

namespace triax {
namespace {

using test::world;

// Sizes around the borders between algorithms, with odd ends; the large ones for one type of each
// width, since there all types go the same way.
std::vector<int64_t> sizes_of(DType dtype) {
  std::vector<int64_t> sizes = {1, 2, 3, 7, 1000, 4099, 20'011};
  if (dtype == DType::f32 || dtype == DType::bf16) sizes.push_back(300'003);
  return sizes;
}

// Number i of rank r: the same everywhere, rounding differently in different orders.
template <typename T>
T number(int rank, int64_t i) {
  const auto x = static_cast<uint32_t>(i * 2654435761u) ^ static_cast<uint32_t>(rank * 40503u + 17);
  if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>)
    return static_cast<T>(static_cast<double>(x % 20011) / 7.0 - 1000.0);
  else if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, f16>)
    return T(static_cast<float>(x % 2003) / 7.0f - 100.0f);
  else
    return static_cast<T>(x % 50);
}

template <typename T>
std::vector<T> numbers(int rank, int64_t count, int64_t first = 0) {
  std::vector<T> result(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) result[static_cast<size_t>(i)] = number<T>(rank, first + i);
  return result;
}

template <typename T>
std::vector<T> serial(int64_t count, ReduceOp op) {
  std::vector<std::vector<T>> all;
  std::vector<const void*> sources;
  for (int r = 0; r < world().size(); ++r) all.push_back(numbers<T>(r, count));
  for (const auto& each : all) sources.push_back(each.data());
  std::vector<T> result(static_cast<size_t>(count));
  reduce_in_order(sources, result.data(), result.size(), dtype_of<T>, op);
  return result;
}

template <typename T>
Tensor view(std::vector<T>& x) {
  return {x.data(), {static_cast<int64_t>(x.size())}, dtype_of<T>};
}

template <typename T>
bool same_bits(const T* a, const T* b, int64_t count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(T)) == 0;
}

std::unique_ptr<MpiCommunicator> make_group(SameHost same_host, OperationOptions options = {}) {
  return std::make_unique<MpiCommunicator>(std::make_shared<OperationEngine>(options), mpi::Group::world(), "test", same_host);
}

class Collectives : public testing::TestWithParam<SameHost> {
 protected:
  void SetUp() override { own_ = make_group(GetParam()); }
  Communicator& group() { return *own_; }
  int rank() { return own_->rank(); }
  int size() { return own_->size(); }

  template <typename T>
  void check_all_reduce() {
    for (const ReduceOp op : {ReduceOp::sum, ReduceOp::max, ReduceOp::min})
      for (const int64_t count : sizes_of(dtype_of<T>)) {
        if (op != ReduceOp::sum && count > 5000) continue;
        std::vector<T> x = numbers<T>(rank(), count);
        group().all_reduce(view(x), op);
        ASSERT_TRUE(same_bits(x.data(), serial<T>(count, op).data(), count))
            << name_of(dtype_of<T>) << " of " << count << " op " << static_cast<int>(op);
      }
  }

  template <typename T>
  void check_reduce_scatter() {
    for (const int64_t count : sizes_of(dtype_of<T>))
      for (const bool in_place : {false, true}) {
        if (in_place && count > 200'000) continue;
        std::vector<T> full = numbers<T>(rank(), count * size()), separate(static_cast<size_t>(count));
        const Tensor shard = in_place ? view(full).narrow(0, count * rank(), count) : view(separate);
        group().reduce_scatter(view(full), shard);
        const std::vector<T> expected = serial<T>(count * size(), ReduceOp::sum);
        ASSERT_TRUE(same_bits(shard.data<T>(), expected.data() + count * rank(), count))
            << name_of(dtype_of<T>) << " of " << count << " in place " << in_place;
      }
  }

  template <typename T>
  void check_all_gather() {
    for (const int64_t count : sizes_of(dtype_of<T>))
      for (const bool in_place : {false, true}) {
        std::vector<T> full(static_cast<size_t>(count * size())), mine = numbers<T>(rank(), count);
        const Tensor shard = in_place ? view(full).narrow(0, count * rank(), count) : view(mine);
        std::copy(mine.begin(), mine.end(), shard.data<T>());
        group().all_gather(shard, view(full));
        for (int r = 0; r < size(); ++r)
          ASSERT_TRUE(same_bits(full.data() + count * r, numbers<T>(r, count).data(), count))
              << name_of(dtype_of<T>) << " of " << count << " from rank " << r << " in place " << in_place;
      }
  }

  template <typename T>
  void check_broadcast() {
    for (int root = 0; root < size(); ++root)
      for (const int64_t count : sizes_of(dtype_of<T>)) {
        std::vector<T> x = numbers<T>(rank(), count);
        group().broadcast(view(x), root);
        ASSERT_TRUE(same_bits(x.data(), numbers<T>(root, count).data(), count)) << name_of(dtype_of<T>) << " of " << count;
      }
  }

 private:
  std::unique_ptr<MpiCommunicator> own_;
};

std::string name_of_way(const testing::TestParamInfo<SameHost>& way) {
  constexpr const char* kNames[] = {"Messages", "Slots", "Direct"};
  return kNames[static_cast<int>(way.param)];
}
INSTANTIATE_TEST_SUITE_P(, Collectives, testing::Values(SameHost::messages, SameHost::slots, SameHost::direct),
                         name_of_way);

TEST_P(Collectives, AllReduce) {
  check_all_reduce<float>();
  check_all_reduce<double>();
  check_all_reduce<int32_t>();
  check_all_reduce<int64_t>();
  check_all_reduce<uint8_t>();
  check_all_reduce<bf16>();
  check_all_reduce<f16>();
}

TEST_P(Collectives, ReduceScatter) {
  check_reduce_scatter<float>();
  check_reduce_scatter<double>();
  check_reduce_scatter<int32_t>();
  check_reduce_scatter<int64_t>();
  check_reduce_scatter<uint8_t>();
  check_reduce_scatter<bf16>();
  check_reduce_scatter<f16>();
}

TEST_P(Collectives, AllGather) {
  check_all_gather<float>();
  check_all_gather<int64_t>();
  check_all_gather<uint8_t>();
  check_all_gather<bf16>();
}

TEST_P(Collectives, Broadcast) {
  check_broadcast<float>();
  check_broadcast<uint8_t>();
  check_broadcast<bf16>();
}

TEST_P(Collectives, EmptyTensorsAreFine) {
  std::vector<float> none;
  float place = 0;
  const Tensor empty(&place, {0}, DType::f32);
  group().all_reduce(empty);
  group().all_gather(empty, empty);
  group().reduce_scatter(empty, empty);
  group().broadcast(empty, 0);
}

TEST_P(Collectives, SeveralInFlightAtOnce) {
  const int64_t n = 50'021;
  std::vector<float> a = numbers<float>(rank(), n), b = numbers<float>(rank(), 3), d = numbers<float>(rank(), n);
  std::vector<bf16> c = numbers<bf16>(rank(), n * size()), shard(static_cast<size_t>(n));
  std::vector<float> gathered(static_cast<size_t>(n * size()));
  Request first = group().start_all_reduce(view(a), ReduceOp::sum);
  Request second = group().start_all_reduce(view(b), ReduceOp::max);
  Request third = group().start_reduce_scatter(view(c), view(shard));
  Request fourth = group().start_all_gather(view(d), view(gathered));
  // Messages pass the collectives.
  std::vector<float> sent = numbers<float>(rank(), n, 5), received(static_cast<size_t>(n));
  Request in = group().start_receive(view(received), (rank() + size() - 1) % size(), 3);
  Request out = group().start_send(view(sent), (rank() + 1) % size(), 3);
  in.wait();
  fourth.wait();
  first.wait();
  out.wait();
  third.wait();
  second.wait();
  EXPECT_TRUE(same_bits(a.data(), serial<float>(n, ReduceOp::sum).data(), n));
  EXPECT_TRUE(same_bits(b.data(), serial<float>(3, ReduceOp::max).data(), 3));
  EXPECT_TRUE(same_bits(shard.data(), serial<bf16>(n * size(), ReduceOp::sum).data() + n * rank(), n));
  for (int r = 0; r < size(); ++r) EXPECT_TRUE(same_bits(gathered.data() + n * r, numbers<float>(r, n).data(), n));
  EXPECT_EQ(received, numbers<float>((rank() + size() - 1) % size(), n, 5));
}

TEST_P(Collectives, ManyInARowDoNotDisturbEachOther) {
  // Slots and staging memory are used again while slower ranks still read them.
  for (int round = 0; round < 300; ++round) {
    const int64_t count = 1 + (round * 7919) % 9000;
    std::vector<int64_t> x(static_cast<size_t>(count), round + rank()), full(static_cast<size_t>(count * size()));
    group().all_gather(view(x), view(full));
    for (int r = 0; r < size(); ++r) ASSERT_EQ(full[static_cast<size_t>(count * r + count - 1)], round + r);
    group().all_reduce(view(x));
    ASSERT_EQ(x.back(), int64_t{size()} * round + size() * (size() - 1) / 2);
    group().broadcast(view(x), round % size());
    if (round % 10 == 0) group().barrier();
  }
}

TEST_P(Collectives, ErrorsNameTheGroupAndTheShapes) {
  std::vector<float> x(6), y(7);
  EXPECT_THROW(group().all_gather(view(x), view(y)), Error);
  EXPECT_THROW(group().reduce_scatter(view(y), view(x)), Error);
  EXPECT_THROW(group().broadcast(view(x), size()), Error);
  EXPECT_THROW(group().start_send(view(x), -1, 0), Error);
  const Tensor column = view(x).reshape({2, 3}).narrow(1, 0, 1);
  EXPECT_THROW(group().all_reduce(column), Error);
  bool flag = true;
  EXPECT_THROW(group().all_reduce(Tensor(&flag, {1}, DType::boolean)), Error);
}

TEST_P(Collectives, MessagesOfATagArriveInOrder) {
  const int next = (rank() + 1) % size(), previous = (rank() + size() - 1) % size();
  std::vector<std::vector<int32_t>> out, in;
  std::vector<Request> requests;
  for (int i = 0; i < 40; ++i) {
    out.emplace_back(static_cast<size_t>(i % 5 == 0 ? 30'000 : 10), 1000 * rank() + i);
    in.emplace_back(out.back().size(), -1);
  }
  // Two tags in turn; the receiver asks for all of one tag first.
  for (int tag : {1, 0})
    for (int i = tag; i < 40; i += 2) requests.push_back(group().start_receive(view(in[static_cast<size_t>(i)]), previous, tag));
  for (int i = 0; i < 40; ++i) requests.push_back(group().start_send(view(out[static_cast<size_t>(i)]), next, i % 2));
  for (Request& request : requests) request.wait();
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(in[static_cast<size_t>(i)].front(), 1000 * previous + i);
    EXPECT_EQ(in[static_cast<size_t>(i)].back(), 1000 * previous + i);
  }
}

TEST_P(Collectives, AMessageOfAnotherLengthIsAnError) {
  const int next = (rank() + 1) % size(), previous = (rank() + size() - 1) % size();
  std::vector<float> three(3), four(4);
  Request sent = group().start_send(view(three), next, 9);
  Request received = group().start_receive(view(four), previous, 9);
  sent.wait();
  EXPECT_THROW(received.wait(), Error);
  group().barrier();
}

// All ways of travelling give the same bits, which is what makes grids on any hosts agree.
TEST(AllReduce, HasTheSameBitsThroughMemoryAndMessages) {
  const auto messages = make_group(SameHost::messages), slots = make_group(SameHost::slots);
  const int64_t n = 300'007;
  std::vector<float> a = numbers<float>(world().rank(), n), b = a, c = a;
  world().communicator().all_reduce(view(a));
  messages->all_reduce(view(b));
  slots->all_reduce(view(c));
  EXPECT_TRUE(same_bits(a.data(), b.data(), n));
  EXPECT_TRUE(same_bits(a.data(), c.data(), n));
}

// With a thread of its own the progress goes on while the rank computes.
TEST(ProgressThread, FinishesWhatWasStarted) {
  for (const SameHost same_host : {SameHost::messages, SameHost::slots, SameHost::direct}) {
    const auto threaded = make_group(same_host, {.thread = true});
    Communicator& group = *threaded;
    const int64_t n = 200'003;
    std::vector<float> x = numbers<float>(world().rank(), n);
    Request request = group.start_all_reduce(view(x), ReduceOp::sum);
    std::vector<float> y = numbers<float>(world().rank(), n);
    group.all_reduce(view(y));
    request.wait();
    EXPECT_EQ(x, y);
  }
}

}  // namespace
}  // namespace triax
