// Attention as a share of the machine's GEMM peak, which is measured in the same loop, call by call,
// so that a busy or throttled machine slows both. Only the unmasked half of a causal square counts as
// work: 2 products forward, 5 backward.
//
//   bench_attention [--benchmark_filter=...]      columns: gflops, peak_gflops, of_peak (best of each)
#include <benchmark/benchmark.h>

#include <time.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "triax/base/parallel.h"
#include "triax/base/rng.h"
#include "triax/kernels/attention.h"
#include "triax/kernels/linear.h"

namespace triax {
namespace {

enum class Pass { forward, backward, both };

struct Shape4 {
  int64_t spans, length, heads, d;
};

// Uniform in [-1, 1).
void fill(const OwnedTensor& tensor, uint64_t seed) {
  Philox random(seed);
  const auto number = [&] { return static_cast<float>(random.next_u32()) * 0x1p-31f - 1; };
  if (tensor.view().dtype() == DType::f32) {
    for (float& x : tensor.span<float>()) x = number();
  } else {
    for (bf16& x : tensor.span<bf16>()) x = bf16(number());
  }
}

// With one thread (OMP_NUM_THREADS=1) CPU time counts, which a busy machine distorts least.
double now() {
  timespec time{};
  clock_gettime(num_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <typename F>
double seconds(F&& f) {
  const double start = now();
  f();
  return now() - start;
}

class Gemm {
 public:
  double flops_per_second() {
    const double flops = 2.0 * kSize * kSize * kSize;
    return flops / seconds([&] { linear_forward({}, x_, w_, {}, y_); });
  }

 private:
  static constexpr int64_t kSize = 768;
  OwnedTensor x_{{kSize, kSize}, DType::f32}, w_{{kSize, kSize}, DType::f32}, y_{{kSize, kSize}, DType::f32};
};

void run(benchmark::State& state, Pass pass, DType dtype, Shape4 s, bool causal, float dropout) {
  const int64_t n = s.spans * s.length;
  const OwnedTensor qkv({n, 3, s.heads, s.d}, dtype), dqkv({n, 3, s.heads, s.d}, dtype);
  const OwnedTensor out({n, s.heads, s.d}, dtype), dout({n, s.heads, s.d}, dtype);
  const OwnedTensor lse({s.heads, n}, DType::f32);
  fill(qkv, 1), fill(dout, 2);
  std::vector<Span> spans;
  for (int64_t i = 0; i < s.spans; ++i) spans.push_back({i * s.length, s.length});
  AttentionOptions options;
  options.causal = causal;
  options.scale = 1 / std::sqrt(static_cast<float>(s.d));
  options.dropout.probability = dropout;
  options.total_heads = s.heads, options.max_length = s.length;
  const OwnedTensor scratch({static_cast<int64_t>(attention_backward_scratch(qkv, spans))}, DType::u8);
  attention_forward({}, qkv, spans, options, out, lse);

  const int products = pass == Pass::forward ? 2 : pass == Pass::backward ? 5 : 7;
  const auto length = static_cast<double>(s.length);
  const double pairs = causal ? length * (length + 1) / 2 : length * length;
  const double flops = 2.0 * products * pairs * static_cast<double>(s.spans * s.heads * s.d);
  Gemm gemm;
  double best = 0, peak = 0;
  for (auto _ : state) {
    const double time = seconds([&] {
      if (pass != Pass::backward) attention_forward({}, qkv, spans, options, out, lse);
      if (pass != Pass::forward)
        attention_backward({}, dout, qkv, out, lse, spans, options, dqkv, scratch);
    });
    state.SetIterationTime(time);
    best = std::max(best, flops / time);
    peak = std::max(peak, gemm.flops_per_second());
  }
  state.counters["gflops"] = best * 1e-9;
  state.counters["peak_gflops"] = peak * 1e-9;
  state.counters["of_peak"] = best / peak;
}

void decode(benchmark::State& state, DType dtype, Shape4 s) {
  const OwnedTensor q({s.spans, s.heads, s.d}, dtype), out({s.spans, s.heads, s.d}, dtype);
  const OwnedTensor k({s.spans, s.length, s.heads, s.d}, dtype), v({s.spans, s.length, s.heads, s.d}, dtype);
  fill(q, 1), fill(k, 2), fill(v, 3);
  const std::vector<int64_t> lengths(static_cast<size_t>(s.spans), s.length);
  double best = 0;
  for (auto _ : state) {
    const double time = seconds([&] { attention_decode({}, q, k, v, lengths, 0.125f, out); });
    state.SetIterationTime(time);
    best = std::max(best, 2.0 * static_cast<double>(k.view().bytes()) / time);
  }
  state.counters["GB/s"] = best * 1e-9;
}

void add(const char* name, Pass pass, DType dtype, Shape4 s, bool causal = true, float dropout = 0) {
  benchmark::RegisterBenchmark(name, [=](benchmark::State& state) {
    run(state, pass, dtype, s, causal, dropout);
  })->UseManualTime()->Unit(benchmark::kMillisecond)->MinTime(0.3);
}

void add_all() {
  constexpr Shape4 kSmall{16, 256, 6, 64}, kGpt2{4, 512, 12, 64}, kLong{4, 1024, 12, 64};
  add("both/s256", Pass::both, DType::f32, kSmall);
  add("both/s512", Pass::both, DType::f32, kGpt2);
  add("both/s1024", Pass::both, DType::f32, kLong);
  add("forward/s256", Pass::forward, DType::f32, kSmall);
  add("forward/s512", Pass::forward, DType::f32, kGpt2);
  add("forward/s1024", Pass::forward, DType::f32, kLong);
  add("backward/s256", Pass::backward, DType::f32, kSmall);
  add("backward/s512", Pass::backward, DType::f32, kGpt2);
  add("backward/s1024", Pass::backward, DType::f32, kLong);
  add("both/s512/bf16", Pass::both, DType::bf16, kGpt2);
  add("both/s512/dropout", Pass::both, DType::f32, kGpt2, true, 0.1f);
  add("both/s512/full", Pass::both, DType::f32, kGpt2, false);
  add("both/s4096/one_sequence", Pass::both, DType::f32, {1, 4096, 12, 64});
  add("both/s1024/d128", Pass::both, DType::f32, {2, 1024, 16, 128});
  for (const auto& [name, dtype] : {std::pair{"decode/f32", DType::f32}, {"decode/bf16", DType::bf16}})
    benchmark::RegisterBenchmark(name, [d = dtype](benchmark::State& state) {
      decode(state, d, {16, 1024, 12, 64});
    })->UseManualTime()->Unit(benchmark::kMillisecond);
}

}  // namespace
}  // namespace triax

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  triax::add_all();
  benchmark::RunSpecifiedBenchmarks();
}
