#include "kernels/cuda_on_host/queue.h"

#include <algorithm>

#include "kernels/cuda_on_host/emulation.h"
#include "triax/kernel_cases/reference.h"
#include "triax/kernels/attention.h"
#include "triax/kernels/cuda/operations.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/linear.h"

namespace triax::cuda_on_host {
namespace {

// The same memory and strides, as a tensor of the CPU.
Tensor on_cpu(const Tensor& x) {
  const int64_t stride = std::max(x.stride(0), x.dim(1));
  return Tensor(x.raw(), {x.dim(0), stride}, x.dtype()).narrow(1, 0, x.dim(1));
}

// The numbers of codes, as f32 of the CPU.
OwnedTensor numbers_of(const Tensor& codes, const Product::Codes& how) {
  OwnedTensor numbers(codes.shape(), DType::f32);
  const auto* from = static_cast<const uint8_t*>(codes.raw());
  for (size_t i = 0; float& x : numbers.span<float>()) x = *how.factor * static_cast<float>(reference::float8_value(from[i++], how.format));
  return numbers;
}

Tensor vector_on_cpu(const Tensor& x) { return {x.raw(), x.shape(), x.dtype()}; }

// As a CUDA graph: the launches of the second time, arguments and all, each time after.
class RecordedOnHost final : public RepeatedWork {
 public:
  void run(const std::function<void()>& work) override {
    if (times_++ == 0) return work();
    if (times_ == 2) {
      recording = &launches_;
      work();
      recording = nullptr;
    }
    for (const auto& launch : launches_) launch();
  }

 private:
  int times_ = 0;
  std::vector<std::function<void()>> launches_;
};

class HostQueue : public DeviceQueue {
 public:
  explicit HostQueue(bool fuses) : buffer_(size_t{8} << 20), fuses_(fuses) {
    operations = &cuda_on_host::operations();
    device = {Device::Kind::emulated, 0};
    has_float8 = true;
    scratch = buffer_.data();
    scratch_bytes = buffer_.bytes();
  }
  bool multiply(const Product& p) override {
    if (p.epilogue != Product::Epilogue::none && (!fuses_ || p.in_float8())) return false;  // left to the kernels
    if (recording) {
      recording->push_back([p] { compute(p); });
      return true;
    }
    compute(p);
    return true;
  }
  std::unique_ptr<RepeatedWork> repeated() override { return std::make_unique<RecordedOnHost>(); }
  // By the CPU's, a sequence at a time, with lse in the library's order: that of a batch of one.
  void attend(const EqualAttention& attention) override {
    const int64_t n = attention.qkv.dim(0) / attention.sequences, heads = attention.qkv.dim(2);
    const Span whole{0, n};
    const AttentionOptions options{.causal = attention.causal, .scale = attention.scale, .dropout = {}};
    for (int64_t i = 0; i < attention.sequences; ++i) {
      const auto rows = [&](const Tensor& x) { return vector_on_cpu(x).narrow(0, i * n, n); };
      const Tensor lse = vector_on_cpu(attention.lse).reshape({attention.sequences, heads, n}).narrow(0, i, 1).reshape({heads, n});
      if (attention.dout.defined())
        attention_backward({}, rows(attention.dout), rows(attention.qkv), rows(attention.out), lse, {&whole, 1}, options,
                           rows(attention.dqkv), backward_scratch(rows(attention.qkv), whole));
      else
        attention_forward({}, rows(attention.qkv), {&whole, 1}, options, rows(attention.out), lse);
    }
  }
  void read(const void* at, std::span<double> to) override {
    std::copy_n(static_cast<const double*>(at), to.size(), to.begin());
  }
  void synchronize() override {}

 private:
  static void compute_float8(const Product& p) {
    const OwnedTensor a = numbers_of(p.a, p.a_codes), b = numbers_of(p.b, p.b_codes), sums(p.c.shape(), DType::f32);
    const Tensor c = on_cpu(p.c);
    if (p.beta != 0) convert({}, c, sums);
    gemm({}, false, true, a, b, p.beta, sums);
    convert({}, sums, c);
  }

  static void compute(const Product& p) {
    if (p.in_float8()) return compute_float8(p);
    using Epilogue = Product::Epilogue;
    const Tensor a = on_cpu(p.a), b = on_cpu(p.b), c = on_cpu(p.c), bias = p.bias.defined() ? vector_on_cpu(p.bias) : Tensor{};
    switch (p.epilogue) {
      case Epilogue::none: gemm({}, p.transpose_a, p.transpose_b, a, b, p.beta, c); break;
      case Epilogue::bias: linear_forward({}, a, b, bias, c); break;
      case Epilogue::gelu: linear_activation_forward({}, a, b, bias, Activation::gelu_tanh, on_cpu(p.pre), c); break;
      case Epilogue::gelu_gradient: linear_activation_backward_input({}, a, b, on_cpu(p.pre), Activation::gelu_tanh, c); break;
      case Epilogue::bias_gradient: linear_backward_weight({}, a, b, c, bias); break;
    }
  }
  Tensor backward_scratch(const Tensor& qkv, const Span& span) {
    const size_t bytes = attention_backward_scratch(qkv, {&span, 1});
    if (attention_scratch_.bytes() < bytes) attention_scratch_ = Buffer(bytes);
    return {attention_scratch_.data(), {static_cast<int64_t>(bytes)}, DType::u8};
  }

  Buffer buffer_, attention_scratch_;
  bool fuses_;
};

}  // namespace

std::unique_ptr<DeviceQueue> make_queue(bool fuses) { return std::make_unique<HostQueue>(fuses); }

}  // namespace triax::cuda_on_host
