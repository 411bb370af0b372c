// What operations need on a device other than the CPU: their implementations, a stream on which they run one after the
// other, memory for what they keep in between, and matrix products, which a library does.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "triax/kernels/context.h"
#include "triax/kernels/float8.h"

namespace triax {

struct DeviceOperations;

// c [m, n] = f(a [m, k] b [k, n] + beta c), either operand given transposed; see gemm(). Without bias f adds none.
struct Product {
  enum class Epilogue {
    none,
    bias,           // + bias [n]
    gelu,           // pre = product + bias; gelu_tanh(pre)
    gelu_gradient,  // product * gelu_tanh'(pre)
    bias_gradient,  // product; and bias [m], which is f32, += sums over k of a, which is given transposed
  };
  bool transpose_a = false, transpose_b = false;
  Tensor a, b;
  float beta = 0;
  Tensor c;
  Epilogue epilogue = Epilogue::none;
  Tensor bias, pre;
  // Of operands in FP8, which are codes (kernels/float8.h): k is along the rows of both, a multiple of 16, and c is aligned.
  struct Codes {
    Float8 format = Float8::e4m3;
    const float* factor = nullptr;  // in the device's memory; null: not in FP8
  };
  Codes a_codes = {}, b_codes = {};
  bool in_float8() const { return a_codes.factor != nullptr; }
};

// softmax(scale * q k^T) v of sequences of one length, one behind the other, without dropout; see attention_forward(). With
// dout, its backward.
struct EqualAttention {
  int64_t sequences = 0;
  bool causal = true;
  bool deterministic = true;
  float scale = 1;
  Tensor qkv, out, lse;
  Tensor dout, dqkv, scratch;
};

// Work that is queued again and again: the same operations each time, in the same memory, where what differs is kept.
class RepeatedWork {
 public:
  virtual ~RepeatedWork() = default;
  // Queues what `work` queues, which must neither wait nor copy. It need not be called each time.
  virtual void run(const std::function<void()>& work) { work(); }
};

class DeviceQueue {
 public:
  virtual ~DeviceQueue() = default;
  // Queues a product. False: the library has none with this epilogue, and nothing was done.
  virtual bool multiply(const Product& product) = 0;
  // Queues the attention. Throws Error saying why where the library cannot do it.
  virtual void attend(const EqualAttention& attention) = 0;
  // Recorded after its first time, and replayed, where the device can.
  virtual std::unique_ptr<RepeatedWork> repeated() { return std::make_unique<RepeatedWork>(); }
  // The numbers from `at` on in the device's memory, after all that was queued so far.
  virtual void read(const void* at, std::span<double> to) = 0;
  // Waits for all that was queued so far.
  virtual void synchronize() = 0;

  const DeviceOperations* operations = nullptr;
  Device device;
  bool tf32 = false;        // products of f32 may round their operands to 10 bits
  bool has_float8 = false;  // multiplies FP8
  // Memory for the operands of one product in FP8. Where there is some, the linear layers of transformer layers
  // (Context::in_layer) are multiplied so if they compute in bf16.
  struct Float8Memory {
    static constexpr size_t kFactors = 256, kAlignment = 256;  // first two factors, then both operands
    void* data = nullptr;
    size_t bytes = 0;
  } float8;
  void* stream = nullptr;   // cudaStream_t
  void* scratch = nullptr;  // of the operations that run on this stream
  size_t scratch_bytes = 0;
  Context context() { return {.device = device, .queue = this}; }
};

std::unique_ptr<RepeatedWork> repeated_work(const Context& context);
// Bytes that a queue takes on its device.
size_t queue_bytes(Device device);
// None for a CPU. Throws Error saying why where the device cannot be had.
std::unique_ptr<DeviceQueue> make_queue(Device device);
// The same for a user who asked for the device by `option`, and could have asked for the CPU by `cpu_option`:
// "--device cuda", "--device cpu".
std::unique_ptr<DeviceQueue> make_queue(Device device, std::string_view option, std::string_view cpu_option);

}  // namespace triax
