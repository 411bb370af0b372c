#include "triax/comm/communication_volume.h"

#include <gtest/gtest.h>

#include "triax/base/error.h"

namespace triax {
namespace {

TEST(CommunicationVolume, CollectivesSendTheShareOfARing) {
  CommunicationVolume volume{.ranks = 4};
  const auto count = [&](CommunicationKind kind) -> CommunicationVolume::Count& {
    return volume.counts[static_cast<size_t>(kind)];
  };
  count(CommunicationKind::all_reduce) = {2, 1000};
  EXPECT_EQ(volume.bytes_sent(), 1500);
  count(CommunicationKind::reduce_scatter) = {1, 100};
  count(CommunicationKind::all_gather) = {1, 100};
  EXPECT_EQ(volume.bytes_sent(), 1650);
  count(CommunicationKind::send) = {3, 7};
  count(CommunicationKind::receive) = {3, 1'000'000};
  EXPECT_EQ(volume.bytes_sent(), 1657);
  EXPECT_EQ(volume.calls(), 10);
  volume.ranks = 1;
  EXPECT_EQ(volume.bytes_sent(), 7);
}

// Against sums made the long way, tensor by tensor.
TEST(CommunicationVolume, TensorParallelFormulas) {
  const ActivationSize size{2, 16, 8};
  for (const int t : {1, 2, 4, 8}) {
    const double one = 2 * (t - 1.0) / t * (2 * 16 * 8);  // an all-reduce of b s h
    EXPECT_DOUBLE_EQ(tensor_layer_volume(size, t, 1), 4 * one);
    EXPECT_DOUBLE_EQ(tensor_layer_volume(size, t, 3), 12 * one);
    EXPECT_DOUBLE_EQ(tensor_recompute_volume(size, t, 3), 6 * one);
    EXPECT_DOUBLE_EQ(embedding_volume(size, t), one);
    EXPECT_DOUBLE_EQ(head_volume(size, t), one);
    EXPECT_DOUBLE_EQ(sequence_regather_volume(size, t, 1), 2 * (one / 2));
    EXPECT_DOUBLE_EQ(cross_entropy_volume(size, t), 3 * one / 8);
  }
  // Narayanan et al. 2021, section 3.2: 8 b s h (t - 1) / t.
  EXPECT_DOUBLE_EQ(tensor_layer_volume({1, 2048, 12288}, 8, 1), 8.0 * 2048 * 12288 * 7 / 8);
}

TEST(CommunicationVolume, PipelineFormula) {
  const ActivationSize size{1, 4, 10};
  const auto of = [&](int p, int v, int rank, int t = 1, bool scatter = false) {
    return pipeline_volume(size, {p, v, 6, rank, t, scatter});
  };
  EXPECT_EQ(of(1, 1, 0), 0);
  EXPECT_EQ(of(4, 1, 0), 6 * 40);
  EXPECT_EQ(of(4, 1, 1), 6 * 40 * 2);
  EXPECT_EQ(of(4, 1, 3), 6 * 40);
  EXPECT_EQ(of(2, 2, 0), 6 * 40 * 3);
  EXPECT_EQ(of(4, 1, 1, 2, true), 6 * 40);
  EXPECT_EQ(of(4, 1, 1, 2, false), 6 * 40 * 2);
  EXPECT_EQ(scatter_gather_volume(size, {4, 1, 6, 1, 4, true}), 6 * 2 * 40 * 3.0 / 4);
  EXPECT_EQ(scatter_gather_volume(size, {4, 1, 6, 1, 4, false}), 0);
  for (const int v : {1, 2, 3}) {  // p v - 1 boundaries, both directions
    double all = 0;
    for (int rank = 0; rank < 4; ++rank) all += of(4, v, rank);
    EXPECT_EQ(all, 2.0 * (4 * v - 1) * 6 * 40);
  }
}

TEST(CommunicationVolume, DataParallelFormulas) {
  const auto total = [](int d, int stage, int passes = 1) { return data_parallel_volume(1e6, d, stage, passes).total(); };
  for (const int stage : {0, 1, 2}) EXPECT_DOUBLE_EQ(total(64, stage), 2e6 * 63 / 64);
  EXPECT_DOUBLE_EQ(total(64, 3), 3e6 * 63 / 64);
  EXPECT_EQ(total(1, 3), 0);
  EXPECT_DOUBLE_EQ(total(2, 1, 4), 1e6);      // gradients are summed first
  EXPECT_DOUBLE_EQ(total(2, 2, 4), 5e6 / 2);  // 4 reductions, 1 gather
  EXPECT_DOUBLE_EQ(total(2, 3, 4), 12e6 / 2);
  EXPECT_DOUBLE_EQ(data_parallel_volume(1e6, 2, 3).weights, 1e6);
  EXPECT_DOUBLE_EQ(tied_gradient_volume(1e6), 1e6);
  EXPECT_THROW(data_parallel_volume(1, 2, 4), Error);
}

TEST(CommunicationVolume, TableSetsMeasuredBesideFormula) {
  const std::vector<VolumeRow> rows = {{"tensor", 12, 1010, 1000}, {"embedding", 1, 2048, 0}};
  EXPECT_EQ(volume_table(rows),
            "group          calls          sent       formula  difference\n"
            "tensor            12        1010 B        1000 B     +1.00 %\n"
            "embedding          1       2.0 KiB             –           –\n");
}

}  // namespace
}  // namespace triax
