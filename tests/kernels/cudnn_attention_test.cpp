// What can be known of cuDNN's attention where no GPU is at hand: that the graphs compute attention, operation by operation,
// and that the library has engines for them on GPUs that are only described to it, which ask for no more memory than planned.
#ifdef TRIAX_CUDNN

#include "triax/kernels/cuda/cudnn_attention.h"

#include <dlfcn.h>
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <list>

#include "triax/kernel_cases/attention_reference.h"
#include "triax/kernels/attention.h"

namespace triax::cuda {
namespace {

using harness::random_vector;
using harness::Vector;

// ---- a graph, computed as it says ----

class GraphOnHost {
 public:
  GraphOnHost(const CudnnGraph& graph, std::map<CudnnGraph::Id, double*> memory) : graph_(graph), places_(std::move(memory)) {
    for (CudnnGraph::Id id = 1; id <= static_cast<CudnnGraph::Id>(graph.tensors().size()); ++id) {
      const CudnnGraph::Tensor& t = graph.at(id);
      if (t.kind == CudnnGraph::Tensor::Kind::memory) continue;
      size_t extent = 1;
      for (size_t i = 0; i < 4; ++i) extent += static_cast<size_t>((t.dims[i] - 1) * t.strides[i]);
      own_.emplace_back(extent, static_cast<double>(t.value));
      places_[id] = own_.back().data();
    }
  }

  void run() {
    for (const CudnnGraph::Operation& o : graph_.operations())
      each(graph_.at(o.into).dims, [&](const CudnnGraph::Dims& at) { element(o.into, at) = value(o, at); });
  }

 private:
  using Dims = CudnnGraph::Dims;
  using Kind = CudnnGraph::Operation::Kind;

  template <typename Body>
  static void each(const Dims& dims, const Body& body) {
    for (int64_t i = 0; i < dims[0]; ++i)
      for (int64_t j = 0; j < dims[1]; ++j)
        for (int64_t k = 0; k < dims[2]; ++k)
          for (int64_t l = 0; l < dims[3]; ++l) body(Dims{i, j, k, l});
  }

  int64_t offset(CudnnGraph::Id id, const Dims& at) const {
    const CudnnGraph::Tensor& t = graph_.at(id);
    int64_t sum = 0;
    for (size_t i = 0; i < 4; ++i) sum += (t.dims[i] == 1 ? 0 : at[i]) * t.strides[i];
    return sum;
  }
  double& element(CudnnGraph::Id id, const Dims& at) { return places_.at(id)[offset(id, at)]; }

  double value(const CudnnGraph::Operation& o, const Dims& at) {
    switch (o.kind) {
      case Kind::reshape: return places_.at(o.operands[0])[offset(o.into, at)];
      case Kind::pointwise: return pointwise(o, at);
      case Kind::product: {
        double sum = 0;
        for (int64_t k = 0; k < graph_.at(o.operands[0]).dims[3]; ++k)
          sum += element(o.operands[0], {at[0], at[1], at[2], k}) * element(o.operands[1], {at[0], at[1], k, at[3]});
        return sum;
      }
      case Kind::reduction: {
        double result = o.mode == CUDNN_REDUCE_TENSOR_MAX ? -1e300 : 0;
        for (int64_t k = 0; k < graph_.at(o.operands[0]).dims[3]; ++k) {
          const double x = element(o.operands[0], {at[0], at[1], at[2], k});
          result = o.mode == CUDNN_REDUCE_TENSOR_MAX ? std::max(result, x) : result + x;
        }
        return result;
      }
    }
    return 0;
  }

  double pointwise(const CudnnGraph::Operation& o, const Dims& at) {
    const auto x = [&](size_t i) { return element(o.operands[i], at); };
    switch (o.mode) {
      case CUDNN_POINTWISE_MUL: return x(0) * x(1);
      case CUDNN_POINTWISE_DIV: return x(0) / x(1);
      case CUDNN_POINTWISE_ADD: return x(0) + x(1);
      case CUDNN_POINTWISE_SUB: return x(0) - x(1);
      case CUDNN_POINTWISE_EXP: return std::exp(x(0));
      case CUDNN_POINTWISE_LOG: return std::log(x(0));
      case CUDNN_POINTWISE_IDENTITY: return x(0);
      case CUDNN_POINTWISE_GEN_INDEX: return static_cast<double>(at[static_cast<size_t>(o.axis)]);
      case CUDNN_POINTWISE_CMP_GE: return x(0) >= x(1) ? 1 : 0;
      case CUDNN_POINTWISE_BINARY_SELECT: return x(2) != 0 ? x(0) : x(1);
      default: ADD_FAILURE() << "an operation that attention has no use for: " << o.mode; return 0;
    }
  }

  const CudnnGraph& graph_;
  std::map<CudnnGraph::Id, double*> places_;
  std::list<Vector> own_;
};

double largest_difference(const Vector& x, const Vector& y) {
  double most = 0;
  for (size_t i = 0; i < x.size(); ++i) most = std::max(most, std::abs(x[i] - y[i]));
  return most;
}

TEST(CudnnAttention, GraphsAreTheReference) {
  constexpr int64_t b = 2, a = 3, s = 11, d = 8, n = b * s;
  constexpr float scale = 0.375f;
  const auto at = [](Vector& x, int64_t part) { return x.data() + part * a * d; };
  for (const bool causal : {true, false}) {
    reference::AttentionShape reference{n, a, d, {{0, s}, {s, s}}, {}};
    reference.options.causal = causal;
    reference.options.scale = scale;
    Vector qkv = random_vector(n * 3 * a * d, 1), dout = random_vector(n * a * d, 2);
    Vector out(dout.size()), lse(n * a);
    AttentionGraph forward = attention_graph({.sequences = b, .length = s, .heads = a, .d = d, .causal = causal}, scale);
    GraphOnHost(forward.graph, {{forward.q, at(qkv, 0)}, {forward.k, at(qkv, 1)}, {forward.v, at(qkv, 2)}, {forward.out, out.data()}, {forward.lse, lse.data()}}).run();
    EXPECT_LT(largest_difference(out, reference::attention(reference, qkv).out), 1e-12) << causal;

    for (const bool deterministic : {true, false}) {
      const AttentionGraph g = attention_graph({.sequences = b, .length = s, .heads = a, .d = d, .causal = causal, .backward = true, .deterministic = deterministic}, scale);
      Vector dqkv(qkv.size()), delta(n * a), sum(n * a * d);
      std::map<CudnnGraph::Id, double*> memory = {{g.q, at(qkv, 0)}, {g.k, at(qkv, 1)}, {g.v, at(qkv, 2)}, {g.out, out.data()}, {g.lse, lse.data()},
                                                  {g.dout, dout.data()}, {g.dq, at(dqkv, 0)}, {g.dk, at(dqkv, 1)}, {g.dv, at(dqkv, 2)}, {g.delta, delta.data()}};
      EXPECT_EQ(g.dq_sum != 0, !deterministic);
      if (g.dq_sum) memory[g.dq_sum] = sum.data();
      GraphOnHost(g.graph, memory).run();
      EXPECT_LT(largest_difference(dqkv, reference::attention_backward(reference, qkv, dout)), 1e-12) << causal << deterministic;
    }
  }
}

// ---- what the library says of it ----

struct Gpu {
  const char* name;
  int architecture, shared_memory, processors;

  // As the library itself writes it.
  std::string json() const {
    return fmt::format(
        R"({{"cudaDeviceId":0,"deviceName":"{}","deviceVer":{},"driverVer":13000,"isTccDriver":0,"l2CacheSize":52428800,)"
        R"("maxCtasPerSM":32,"maxRegistersPerSM":65536,"maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":{},)"
        R"("maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"memClockRateKHz":2619000,"multiProcessorCount":{},"pciDeviceId":0,)"
        R"("regsPerBlock":65536,"reservedSharedMemoryPerBlock":1024,"smClockRateKHz":1980000,"supportCoopLaunch":1,)"
        R"("totalGlobalMem":85029158912,"warpSize":32,"maxBlockSize":[1024,1024,64],"maxGridSize":[2147483647,65535,65535]}})",
        name, architecture, shared_memory, processors);
  }
};

class CudnnAttentionOn : public ::testing::TestWithParam<Gpu> {
 protected:
  void SetUp() override {
    if (CUDNN_VERSION < 90800) GTEST_SKIP() << "cuDNN " << CUDNN_VERSION << " plans for GPUs that are there only";
    if (const std::string why = cudnn_missing(); !why.empty()) GTEST_SKIP() << why;
    // It wants a driver's library to have been loaded, and makes do with the toolkit's empty one.
    if (!dlopen("libcuda.so.1", RTLD_NOW) && !dlopen(TRIAX_CUDA_LIBRARIES "/stubs/libcuda.so", RTLD_NOW)) GTEST_SKIP() << "there is neither a driver nor what the toolkit links with in its place: " << dlerror();
  }

  // Of the library's favourite, with what a graph has besides.
  static void expect_to_fit(const AttentionShape& shape) {
    const AttentionGraph attention = attention_graph(shape, 0.125f);
    const std::vector<size_t> workspaces = cudnn_workspaces(attention.graph, GetParam().json());
    SCOPED_TRACE(fmt::format("{} d {} length {} causal {} backward {} deterministic {}", name_of(shape.dtype), shape.d, shape.length, shape.causal,
                             shape.backward, shape.deterministic));
    ASSERT_FALSE(workspaces.empty());
    if (!shape.backward) {
      EXPECT_LE(workspaces[0], size_t{1} << 20);
      return;
    }
    const Tensor qkv(nullptr, {shape.sequences * shape.length, 3, shape.heads, shape.d}, shape.dtype, {Device::Kind::cuda, 0});
    const std::vector<Span> spans = equal_spans(shape.sequences, shape.length);
    AttentionOptions options;
    options.backend = shape.deterministic ? AttentionBackend::cudnn : AttentionBackend::cudnn_fast;
    ASSERT_TRUE(attended_by_library(qkv, spans, options));
    EXPECT_LE(workspaces[0] + CudnnAttention::scratch_bytes(shape), attention_backward_scratch(qkv, spans, options));
  }
};

TEST_P(CudnnAttentionOn, HasEnginesThatFitTheMemoryPlanned) {
  for (const DType dtype : {DType::bf16, DType::f16})
    for (const int64_t d : {40, 64, 128})
      for (const int64_t length : {200, 1024})
        for (const bool causal : {true, false}) {
          AttentionShape shape{.dtype = dtype, .sequences = 2, .length = length, .heads = 3, .d = d, .causal = causal};
          expect_to_fit(shape);
          shape.backward = true;
          for (const bool deterministic : {true, false}) shape.deterministic = deterministic, expect_to_fit(shape);
        }
}

INSTANTIATE_TEST_SUITE_P(Gpus, CudnnAttentionOn, ::testing::Values(Gpu{"A100", 800, 166912, 108}, Gpu{"L40", 890, 101376, 142}, Gpu{"H100", 900, 232448, 132}),
                         [](const ::testing::TestParamInfo<Gpu>& gpu) { return gpu.param.name; });

}  // namespace
}  // namespace triax::cuda

#endif
