#include "triax/comm/nccl_communicator.h"

#include "triax/base/error.h"

namespace triax {

std::vector<MessageLink> message_links(int size) {
  std::vector<MessageLink> links;
  for (int rank = 0; rank < size; ++rank) {
    const int next = (rank + 1) % size;
    links.push_back({.from = rank, .to = next, .parity = 0});
    links.push_back({.from = next, .to = rank, .parity = 1});
  }
  return links;
}

}  // namespace triax

#ifdef TRIAX_NCCL

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <map>

#include "triax/base/shared_library.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

// The functions of NCCL that are used, under their own names; loaded when they are first wanted.
struct NcclLibrary {
#define TRIAX_NCCL_FUNCTIONS(f)                                                                                  \
  f(ncclGetUniqueId) f(ncclCommInitRank) f(ncclCommDestroy) f(ncclGetErrorString) f(ncclAllReduce) f(ncclAllGather) \
      f(ncclReduceScatter) f(ncclBroadcast) f(ncclSend) f(ncclRecv)
#define TRIAX_DECLARE(name) decltype(&::name) name = nullptr;
  TRIAX_NCCL_FUNCTIONS(TRIAX_DECLARE)
#undef TRIAX_DECLARE
  std::string missing;

  NcclLibrary() {
    SharedLibrary library("libnccl.so.2", TRIAX_CUDA_LIBRARIES);
#define TRIAX_FIND(name) library.find(name, #name);
    TRIAX_NCCL_FUNCTIONS(TRIAX_FIND)
#undef TRIAX_FIND
    missing = library.missing();
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

// Ranks of NCCL's with a stream on which their operations run one after the other.
class NcclGroup {
 public:
  // All ranks that `id` was given to call it.
  NcclGroup(const ncclUniqueId& id, int size, int rank) {
    require_nccl(nccl().ncclCommInitRank(&communicator_, size, id, rank), "starting");
    // It does not wait for the legacy stream by itself, so that exchanges overlap with computation.
    require_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  }
  ~NcclGroup() {
    cudaStreamSynchronize(stream_);
    nccl().ncclCommDestroy(communicator_);
    cudaStreamDestroy(stream_);
  }
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  // The operation begins after all that was queued so far, and what is queued after wait() begins after it; the host waits
  // for nothing. Queues' streams meet at the legacy stream.
  template <typename Operation>
  Request start(const char* what, const Operation& operation) const {
    const auto event = [&] {
      cudaEvent_t made;
      require_cuda(cudaEventCreateWithFlags(&made, cudaEventDisableTiming), "making an event");
      return made;
    };
    const cudaEvent_t before = event(), after = event();
    require_cuda(cudaEventRecord(before, cudaStreamLegacy), what);
    require_cuda(cudaStreamWaitEvent(stream_, before, 0), what);
    require_nccl(operation(communicator_, stream_), what);
    require_cuda(cudaEventRecord(after, stream_), what);
    cudaEventDestroy(before);
    return Request([after, what] {
      require_cuda(cudaStreamWaitEvent(cudaStreamLegacy, after, 0), what);
      cudaEventDestroy(after);
    });
  }

 private:
  ncclComm_t communicator_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> bootstrap, Device device, bool messages) : bootstrap_(std::move(bootstrap)) {
    require_device(device);
    all_ = std::make_unique<NcclGroup>(shared_id(0), size(), rank());
    if (!messages) return;
    // Two messages on one stream could each wait for the other: every link has its own. All ranks go through all links in the
    // same order, so that those at a link's ends meet.
    for (const MessageLink& link : message_links(size())) {
      const ncclUniqueId id = shared_id(link.from);
      if (rank() == link.from || rank() == link.to) links_[link] = std::make_unique<NcclGroup>(id, 2, rank() == link.from ? kSender : kReceiver);
    }
  }

  int rank() const override { return bootstrap_->rank(); }
  int size() const override { return bootstrap_->size(); }

  Request start_all_reduce(const Tensor& x, ReduceOp op) override {
    if (x.device().on_host()) return bootstrap_->start_all_reduce(x, op);
    return all_->start("all-reduce", [&](ncclComm_t all, cudaStream_t stream) {
      return nccl().ncclAllReduce(x.raw(), x.raw(), count(x), nccl_type(x.dtype()), nccl_op(op), all, stream);
    });
  }
  Request start_all_gather(const Tensor& shard, const Tensor& full) override {
    if (full.device().on_host()) return bootstrap_->start_all_gather(shard, full);
    return all_->start("all-gather", [&](ncclComm_t all, cudaStream_t stream) {
      return nccl().ncclAllGather(shard.raw(), full.raw(), count(shard), nccl_type(full.dtype()), all, stream);
    });
  }
  Request start_reduce_scatter(const Tensor& full, const Tensor& shard) override {
    if (full.device().on_host()) return bootstrap_->start_reduce_scatter(full, shard);
    return all_->start("reduce-scatter", [&](ncclComm_t all, cudaStream_t stream) {
      return nccl().ncclReduceScatter(full.raw(), shard.raw(), count(shard), nccl_type(full.dtype()), ncclSum, all, stream);
    });
  }
  Request start_broadcast(const Tensor& x, int root) override {
    if (x.device().on_host()) return bootstrap_->start_broadcast(x, root);
    return all_->start("broadcast", [&](ncclComm_t all, cudaStream_t stream) {
      return nccl().ncclBroadcast(x.raw(), x.raw(), count(x), nccl_type(x.dtype()), root, all, stream);
    });
  }
  Request start_send(const Tensor& x, int destination, int tag) override {
    if (x.device().on_host()) return bootstrap_->start_send(x, destination, tag);
    return link({rank(), destination, tag % 2}).start("a message", [&](ncclComm_t pair, cudaStream_t stream) {
      return nccl().ncclSend(x.raw(), count(x), nccl_type(x.dtype()), kReceiver, pair, stream);
    });
  }
  Request start_receive(const Tensor& x, int source, int tag) override {
    if (x.device().on_host()) return bootstrap_->start_receive(x, source, tag);
    return link({source, rank(), tag % 2}).start("a message", [&](ncclComm_t pair, cudaStream_t stream) {
      return nccl().ncclRecv(x.raw(), count(x), nccl_type(x.dtype()), kSender, pair, stream);
    });
  }
  void barrier() override { bootstrap_->barrier(); }

 private:
  static constexpr int kSender = 0, kReceiver = 1;  // ranks of a link

  static size_t count(const Tensor& x) { return static_cast<size_t>(x.numel()); }

  ncclUniqueId shared_id(int root) const {
    ncclUniqueId id{};
    if (rank() == root) require_nccl(nccl().ncclGetUniqueId(&id), "starting");
    bootstrap_->broadcast({&id, {sizeof id}, DType::u8}, root);
    return id;
  }

  const NcclGroup& link(const MessageLink& wanted) const {
    const auto found = links_.find(wanted);
    check(found != links_.end(), "NCCL: this group has no link from rank {} to {} for messages with tag {} modulo 2", wanted.from, wanted.to,
          wanted.parity);
    return *found->second;
  }

  std::unique_ptr<Communicator> bootstrap_;
  std::unique_ptr<NcclGroup> all_;
  std::map<MessageLink, std::unique_ptr<NcclGroup>> links_;
};

}  // namespace

std::string nccl_missing() { return nccl().missing; }

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> bootstrap, Device device, bool messages) {
  check(nccl_missing().empty(), "{}", nccl_missing());
  return std::make_unique<NcclCommunicator>(std::move(bootstrap), device, messages);
}

}  // namespace triax

#else

namespace triax {

std::string nccl_missing() { return "this build of triax has no NCCL (nccl.h was not found beside the CUDA toolkit)"; }

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator>, Device, bool) { fail("{}", nccl_missing()); }

}  // namespace triax

#endif
