#include "kernels/cuda_on_host/queue.h"

#include <algorithm>

#include "triax/kernels/cuda/operations.h"
#include "triax/kernels/linear.h"

namespace triax::cuda_on_host {
namespace {

// The same memory and strides, as a tensor of the CPU.
Tensor on_cpu(const Tensor& x) {
  const int64_t stride = std::max(x.stride(0), x.dim(1));
  return Tensor(x.raw(), {x.dim(0), stride}, x.dtype()).narrow(1, 0, x.dim(1));
}

class HostQueue : public DeviceQueue {
 public:
  HostQueue() : buffer_(size_t{8} << 20) {
    operations = &cuda_on_host::operations();
    device = {Device::Kind::emulated, 0};
    scratch = buffer_.data();
    scratch_bytes = buffer_.bytes();
  }
  // What the library fuses is left to the kernels.
  bool multiply(const Product& p) override {
    if (p.epilogue != Product::Epilogue::none) return false;
    gemm({}, p.transpose_a, p.transpose_b, on_cpu(p.a), on_cpu(p.b), p.beta, on_cpu(p.c));
    return true;
  }
  void read(const void* at, std::span<double> to) override {
    std::copy_n(static_cast<const double*>(at), to.size(), to.begin());
  }
  void synchronize() override {}

 private:
  Buffer buffer_;
};

}  // namespace

std::unique_ptr<DeviceQueue> make_queue() { return std::make_unique<HostQueue>(); }

}  // namespace triax::cuda_on_host
