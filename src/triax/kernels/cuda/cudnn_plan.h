// What cuDNN makes of a graph: engines that can run it, and a plan that does, in one or a few kernels. The library is loaded
// when it is first wanted.
#pragma once

#ifdef TRIAX_CUDNN

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "triax/kernels/cuda/cudnn_graph.h"

namespace triax::cuda {

#define TRIAX_CUDNN_FUNCTIONS(f)                                                                     \
  f(cudnnCreate) f(cudnnDestroy) f(cudnnSetStream) f(cudnnGetErrorString) f(cudnnGetLastErrorString) \
      f(cudnnBackendCreateDescriptor) f(cudnnBackendDestroyDescriptor) f(cudnnBackendSetAttribute)   \
          f(cudnnBackendGetAttribute) f(cudnnBackendFinalize) f(cudnnBackendExecute)

// The functions that are used, under their own names.
struct CudnnLibrary {
#define TRIAX_DECLARE(name) decltype(&::name) name = nullptr;
  TRIAX_CUDNN_FUNCTIONS(TRIAX_DECLARE)
#undef TRIAX_DECLARE
};
const CudnnLibrary& cudnn();  // throws Error where it cannot be loaded
std::string cudnn_missing();  // why not; empty: it can
void require_cudnn(cudnnStatus_t status, const char* what);

// A descriptor of the library's.
class CudnnDescriptor {
 public:
  explicit CudnnDescriptor(cudnnBackendDescriptorType_t type);

  template <typename T>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::span<const T> values) {
    set(name, type, static_cast<int64_t>(values.size()), values.data());
  }
  template <typename T>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
    set(name, type, 1, &value);
  }
  void set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value) { set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, value.get()); }
  // After the last set().
  bool try_finalize();
  void finalize();
  // Up to so many descriptors of a type, made by the library.
  std::vector<CudnnDescriptor> get(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type, int64_t most) const;
  int64_t get(cudnnBackendAttributeName_t name) const;
  cudnnBackendDescriptor_t get() const { return handle_.get(); }

 private:
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void* values);
  void require(bool success, const char* what) const;

  struct Destroy {
    void operator()(void* descriptor) const;
  };
  cudnnBackendDescriptorType_t type_;
  std::unique_ptr<void, Destroy> handle_;
};

class CudnnPlan {
 public:
  // Of the first engine that can be made ready. Throws Error where there is none.
  CudnnPlan(const CudnnGraph& graph, cudnnHandle_t handle);
  size_t workspace_bytes() const { return workspace_bytes_; }
  // memory: of every tensor of the graph that has its own. Queued on the handle's stream.
  void run(cudnnHandle_t handle, const std::map<CudnnGraph::Id, void*>& memory, void* workspace) const;

 private:
  CudnnDescriptor plan_;
  std::map<CudnnGraph::Id, float> numbers_;
  size_t workspace_bytes_ = 0;
};

#if CUDNN_VERSION >= 90800
// Engines for a GPU that need not be here, described in the library's JSON: the bytes of workspace that each would ask for.
std::vector<size_t> cudnn_workspaces(const CudnnGraph& graph, const std::string& device);
#endif

}  // namespace triax::cuda

#endif
