#include "triax/comm/staged_communicator.h"

#include <gtest/gtest.h>

#include <vector>

namespace triax {
namespace {

// Stands for the others: notes what memory it was given, and doubles sums.
class Recorder final : public Communicator {
 public:
  explicit Recorder(std::vector<const void*>& seen) : seen_(seen) {}
  int rank() const override { return 0; }
  int size() const override { return 2; }
  Request start_all_reduce(const Tensor& x, ReduceOp) override {
    seen_.push_back(x.raw());
    return Request([x] { for (float& value : x.span<float>()) value *= 2; });
  }
  Request start_all_gather(const Tensor& shard, const Tensor& full) override {
    seen_.push_back(full.raw());
    return Request([shard, full] { for (int64_t i = 0; i < full.numel(); ++i) full.data<float>()[i] = shard.data<float>()[i % shard.numel()]; });
  }
  Request start_reduce_scatter(const Tensor& full, const Tensor& shard) override {
    seen_.push_back(full.raw());
    return Request([shard, full] { for (int64_t i = 0; i < shard.numel(); ++i) shard.data<float>()[i] = 2 * full.data<float>()[i]; });
  }
  Request start_broadcast(const Tensor& x, int) override { return start_receive(x, 1, 0); }
  Request start_send(const Tensor& x, int, int) override {
    return Request([this, x] { sent_.assign(x.span<float>().begin(), x.span<float>().end()); });
  }
  Request start_receive(const Tensor& x, int, int) override {
    seen_.push_back(x.raw());
    return Request([x] { for (float& value : x.span<float>()) value = 7; });
  }
  void barrier() override {}
  std::vector<float> sent_;

 private:
  std::vector<const void*>& seen_;
};

TEST(StagedCommunicator, ExchangesCopiesAndBringsBackResults) {
  std::vector<const void*> seen;
  auto owned = std::make_unique<Recorder>(seen);
  Recorder& inner = *owned;
  StagedCommunicator staged(std::move(owned), true);
  const OwnedTensor x({3}, DType::f32), full({6}, DType::f32);
  const auto a = x.span<float>(), b = full.span<float>();
  std::ranges::fill(a, 1.5f);
  staged.all_reduce(x);
  EXPECT_EQ(a[2], 3);
  staged.all_gather(x, full);
  EXPECT_EQ(b[5], 3);
  b[1] = 10;
  staged.reduce_scatter(full, x);
  EXPECT_EQ(a[1], 20);
  staged.send(x, 1, 4);
  EXPECT_EQ(inner.sent_, std::vector<float>({6, 20, 6}));
  staged.receive(x, 1, 4);
  EXPECT_EQ(a[0], 7);
  b[0] = 1;
  staged.broadcast(full, 1);
  EXPECT_EQ(b[0], 7);
  for (const void* memory : seen) EXPECT_TRUE(memory != x.view().raw() && memory != full.view().raw());
}

TEST(StagedCommunicator, LeavesTensorsOfTheHostAlone) {
  std::vector<const void*> seen;
  StagedCommunicator staged(std::make_unique<Recorder>(seen));
  const OwnedTensor x({3}, DType::f32);
  staged.all_reduce(x);
  EXPECT_EQ(seen, std::vector<const void*>{x.view().raw()});
}

}  // namespace
}  // namespace triax
