#include "triax/comm/nccl_communicator.h"

#include "triax/base/error.h"

#ifdef TRIAX_NCCL

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>

#include "triax/tensor/device.h"

namespace triax {
namespace {

// The functions of NCCL that are used, under their own names; loaded when they are first wanted.
struct NcclLibrary {
#define TRIAX_NCCL_FUNCTIONS(f)                                                                                  \
  f(ncclGetUniqueId) f(ncclCommInitRank) f(ncclCommDestroy) f(ncclGetErrorString) f(ncclAllReduce) f(ncclAllGather) \
      f(ncclReduceScatter) f(ncclBroadcast)
#define TRIAX_DECLARE(name) decltype(&::name) name = nullptr;
  TRIAX_NCCL_FUNCTIONS(TRIAX_DECLARE)
#undef TRIAX_DECLARE
  std::string missing;

  NcclLibrary() {
    void* handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!handle) handle = dlopen(TRIAX_CUDA_LIBRARIES "/libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
      missing = fmt::format("libnccl.so.2 cannot be loaded ({})", dlerror());
      return;
    }
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
      if (!function) missing = fmt::format("libnccl.so.2 has no {}", name);
    };
#define TRIAX_FIND(name) find(name, #name);
    TRIAX_NCCL_FUNCTIONS(TRIAX_FIND)
#undef TRIAX_FIND
  }
};

const NcclLibrary& nccl() {
  static const NcclLibrary library;
  return library;
}

void require_nccl(ncclResult_t code, const char* what) {
  check(code == ncclSuccess, "NCCL: {}: {}", what, nccl().ncclGetErrorString(code));
}
void require_cuda(cudaError_t code, const char* what) {
  check(code == cudaSuccess, "CUDA: {}: {}", what, cudaGetErrorString(code));
}

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::f64: return ncclFloat64;
    case DType::f32: return ncclFloat32;
    case DType::bf16: return ncclBfloat16;
    case DType::f16: return ncclFloat16;
    case DType::i64: return ncclInt64;
    case DType::i32: return ncclInt32;
    case DType::u8: return ncclUint8;
    default: fail("NCCL exchanges no {}", name_of(dtype));
  }
}

ncclRedOp_t nccl_op(ReduceOp op) { return op == ReduceOp::sum ? ncclSum : op == ReduceOp::max ? ncclMax : ncclMin; }

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> bootstrap, Device device) : bootstrap_(std::move(bootstrap)) {
    require_device(device);
    ncclUniqueId id{};
    if (bootstrap_->rank() == 0) require_nccl(nccl().ncclGetUniqueId(&id), "starting");
    bootstrap_->broadcast({&id, {sizeof id}, DType::u8}, 0);
    require_nccl(nccl().ncclCommInitRank(&communicator_, bootstrap_->size(), id, bootstrap_->rank()), "starting");
    // It does not wait for the legacy stream by itself, so that exchanges overlap with computation.
    require_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  }
  ~NcclCommunicator() override {
    cudaStreamSynchronize(stream_);
    nccl().ncclCommDestroy(communicator_);
    cudaStreamDestroy(stream_);
  }
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const override { return bootstrap_->rank(); }
  int size() const override { return bootstrap_->size(); }

  Request start_all_reduce(const Tensor& x, ReduceOp op) override {
    if (x.device().on_host()) return bootstrap_->start_all_reduce(x, op);
    return start("all-reduce", [&] {
      return nccl().ncclAllReduce(x.raw(), x.raw(), count(x), nccl_type(x.dtype()), nccl_op(op), communicator_, stream_);
    });
  }
  Request start_all_gather(const Tensor& shard, const Tensor& full) override {
    if (full.device().on_host()) return bootstrap_->start_all_gather(shard, full);
    return start("all-gather", [&] {
      return nccl().ncclAllGather(shard.raw(), full.raw(), count(shard), nccl_type(full.dtype()), communicator_, stream_);
    });
  }
  Request start_reduce_scatter(const Tensor& full, const Tensor& shard) override {
    if (full.device().on_host()) return bootstrap_->start_reduce_scatter(full, shard);
    return start("reduce-scatter", [&] {
      return nccl().ncclReduceScatter(full.raw(), shard.raw(), count(shard), nccl_type(full.dtype()), ncclSum, communicator_, stream_);
    });
  }
  Request start_broadcast(const Tensor& x, int root) override {
    if (x.device().on_host()) return bootstrap_->start_broadcast(x, root);
    return start("broadcast", [&] {
      return nccl().ncclBroadcast(x.raw(), x.raw(), count(x), nccl_type(x.dtype()), root, communicator_, stream_);
    });
  }
  Request start_send(const Tensor& x, int destination, int tag) override { return bootstrap_->start_send(x, destination, tag); }
  Request start_receive(const Tensor& x, int source, int tag) override { return bootstrap_->start_receive(x, source, tag); }
  void barrier() override { bootstrap_->barrier(); }

 private:
  static size_t count(const Tensor& x) { return static_cast<size_t>(x.numel()); }

  // The operation begins after all that was queued so far, and what is queued after wait() begins after it; the host waits
  // for nothing. Queues' streams meet at the legacy stream.
  template <typename Operation>
  Request start(const char* what, const Operation& operation) {
    const auto event = [&] {
      cudaEvent_t made;
      require_cuda(cudaEventCreateWithFlags(&made, cudaEventDisableTiming), "making an event");
      return made;
    };
    const cudaEvent_t before = event(), after = event();
    require_cuda(cudaEventRecord(before, cudaStreamLegacy), what);
    require_cuda(cudaStreamWaitEvent(stream_, before, 0), what);
    require_nccl(operation(), what);
    require_cuda(cudaEventRecord(after, stream_), what);
    cudaEventDestroy(before);
    return Request([after, what] {
      require_cuda(cudaStreamWaitEvent(cudaStreamLegacy, after, 0), what);
      cudaEventDestroy(after);
    });
  }

  std::unique_ptr<Communicator> bootstrap_;
  ncclComm_t communicator_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

}  // namespace

std::string nccl_missing() { return nccl().missing; }

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> bootstrap, Device device) {
  check(nccl_missing().empty(), "{}", nccl_missing());
  return std::make_unique<NcclCommunicator>(std::move(bootstrap), device);
}

}  // namespace triax

#else

namespace triax {

std::string nccl_missing() { return "this build of triax has no NCCL (nccl.h was not found beside the CUDA toolkit)"; }

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator>, Device) { fail("{}", nccl_missing()); }

}  // namespace triax

#endif
