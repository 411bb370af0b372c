#include "triax/kernels/cuda/cudnn_plan.h"

#ifdef TRIAX_CUDNN

#include "triax/base/error.h"
#include "triax/base/shared_library.h"

namespace triax::cuda {
namespace {

constexpr int64_t kMostEngines = 16;

struct LoadedCudnn {
  CudnnLibrary library;
  std::string missing;

  LoadedCudnn() {
    SharedLibrary file(fmt::format("libcudnn.so.{}", CUDNN_MAJOR), TRIAX_CUDA_LIBRARIES, ". Name its folder in LD_LIBRARY_PATH");
#define TRIAX_FIND(name) file.find(library.name, #name);
    TRIAX_CUDNN_FUNCTIONS(TRIAX_FIND)
#undef TRIAX_FIND
    missing = file.missing();
  }
};

const LoadedCudnn& loaded_cudnn() {
  static const LoadedCudnn once;
  return once;
}

// What the library has to say of the last failure in this thread.
std::string last_error() {
  std::array<char, 1024> text{};
  cudnn().cudnnGetLastErrorString(text.data(), text.size());
  return text.data();
}

// All descriptors of a graph, which must outlive what is made of it.
class GraphDescriptors {
 public:
  GraphDescriptors(const CudnnGraph& graph, cudnnHandle_t handle) : graph_(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) {
    for (size_t i = 0; i < graph.tensors().size(); ++i) tensors_.push_back(describe(graph.tensors()[i], static_cast<int64_t>(i) + 1));
    for (const CudnnGraph::Operation& operation : graph.operations()) operations_.push_back(describe(operation));
    std::vector<cudnnBackendDescriptor_t> all;
    for (const CudnnDescriptor& operation : operations_) all.push_back(operation.get());
    if (handle) graph_.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, handle);
    graph_.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::span<const cudnnBackendDescriptor_t>(all));
    graph_.finalize();
  }

  // The library's favourite first.
  std::vector<CudnnDescriptor> engines(const CudnnDescriptor* device) const {
    CudnnDescriptor advice(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    advice.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph_);
    advice.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, CUDNN_HEUR_MODE_A);
#if CUDNN_VERSION >= 90800
    if (device) advice.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *device);
#else
    (void)device;
#endif
    if (!advice.try_finalize()) return {};
    return advice.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, kMostEngines);
  }

 private:
  using Operation = CudnnGraph::Operation;

  static CudnnDescriptor describe(const CudnnGraph::Tensor& tensor, CudnnGraph::Id id) {
    CudnnDescriptor d(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    d.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, tensor.type);
    d.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, std::span<const int64_t>(tensor.dims));
    d.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, std::span<const int64_t>(tensor.strides));
    d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, id);
    d.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, int64_t{16});
    d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, tensor.kind == CudnnGraph::Tensor::Kind::temporary);
    d.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, tensor.kind == CudnnGraph::Tensor::Kind::number);
    d.finalize();
    return d;
  }

  CudnnDescriptor describe(const Operation& o) const {
    switch (o.kind) {
      case Operation::Kind::pointwise: return pointwise(o);
      case Operation::Kind::reduction: return reduction(o);
      case Operation::Kind::product: return product(o);
      case Operation::Kind::reshape: break;
    }
    return operation(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, o, {CUDNN_ATTR_OPERATION_RESHAPE_XDESC}, CUDNN_ATTR_OPERATION_RESHAPE_YDESC);
  }

  CudnnDescriptor pointwise(const Operation& o) const {
    CudnnDescriptor what(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    const auto mode = static_cast<cudnnPointwiseMode_t>(o.mode);
    what.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode);
    what.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, mode == CUDNN_POINTWISE_CMP_GE ? CUDNN_DATA_BOOLEAN : CUDNN_DATA_FLOAT);
    if (o.axis >= 0) what.set(CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, o.axis);
    what.finalize();
    return operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, o,
                     {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_ATTR_OPERATION_POINTWISE_TDESC},
                     CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &what, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
  }

  CudnnDescriptor reduction(const Operation& o) const {
    CudnnDescriptor what(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    what.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
    what.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, static_cast<cudnnReduceTensorOp_t>(o.mode));
    what.finalize();
    return operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, o, {CUDNN_ATTR_OPERATION_REDUCTION_XDESC},
                     CUDNN_ATTR_OPERATION_REDUCTION_YDESC, &what, CUDNN_ATTR_OPERATION_REDUCTION_DESC);
  }

  CudnnDescriptor product(const Operation& o) const {
    CudnnDescriptor what(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    what.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
    what.finalize();
    return operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, o, {CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC},
                     CUDNN_ATTR_OPERATION_MATMUL_CDESC, &what, CUDNN_ATTR_OPERATION_MATMUL_DESC);
  }

  CudnnDescriptor operation(cudnnBackendDescriptorType_t type, const Operation& o, std::initializer_list<cudnnBackendAttributeName_t> operands,
                            cudnnBackendAttributeName_t into, const CudnnDescriptor* what = nullptr,
                            cudnnBackendAttributeName_t name_of_what = {}) const {
    CudnnDescriptor d(type);
    if (what) d.set(name_of_what, *what);
    for (size_t i = 0; i < o.operands.size(); ++i) d.set(operands.begin()[i], tensor(o.operands[i]));
    d.set(into, tensor(o.into));
    d.finalize();
    return d;
  }

  const CudnnDescriptor& tensor(CudnnGraph::Id id) const { return tensors_[static_cast<size_t>(id - 1)]; }

  std::vector<CudnnDescriptor> tensors_, operations_;
  CudnnDescriptor graph_;
};

CudnnDescriptor make_plan(const CudnnGraph& graph, cudnnHandle_t handle) {
  for (const CudnnDescriptor& engine : GraphDescriptors(graph, handle).engines(nullptr)) {
    CudnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, handle);
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine);
    if (plan.try_finalize()) return plan;
  }
  fail("cuDNN has no engine for it on this GPU: {}", last_error());
}

}  // namespace

std::string cudnn_missing() { return loaded_cudnn().missing; }

const CudnnLibrary& cudnn() {
  check(cudnn_missing().empty(), "{}", cudnn_missing());
  return loaded_cudnn().library;
}

void require_cudnn(cudnnStatus_t status, const char* what) {
  check(status == CUDNN_STATUS_SUCCESS, "cuDNN: {}: {} {}", what, cudnn().cudnnGetErrorString(status), last_error());
}

// ---- descriptors ----

void CudnnDescriptor::Destroy::operator()(void* descriptor) const { cudnn().cudnnBackendDestroyDescriptor(descriptor); }

CudnnDescriptor::CudnnDescriptor(cudnnBackendDescriptorType_t type) : type_(type) {
  cudnnBackendDescriptor_t made = nullptr;
  require_cudnn(cudnn().cudnnBackendCreateDescriptor(type, &made), "making a descriptor");
  handle_.reset(made);
}

void CudnnDescriptor::require(bool success, const char* what) const {
  check(success, "cuDNN: {} descriptor {}: {}", what, static_cast<int>(type_), last_error());
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void* values) {
  require(cudnn().cudnnBackendSetAttribute(get(), name, type, count, values) == CUDNN_STATUS_SUCCESS, "setting an attribute of");
}

bool CudnnDescriptor::try_finalize() { return cudnn().cudnnBackendFinalize(get()) == CUDNN_STATUS_SUCCESS; }

void CudnnDescriptor::finalize() { require(try_finalize(), "finalizing"); }

std::vector<CudnnDescriptor> CudnnDescriptor::get(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type, int64_t most) const {
  std::vector<CudnnDescriptor> found;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int64_t i = 0; i < most; ++i) raw.push_back(found.emplace_back(type).get());
  int64_t count = 0;
  const auto status = cudnn().cudnnBackendGetAttribute(get(), name, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &count, raw.data());
  require(status == CUDNN_STATUS_SUCCESS, "reading");
  found.erase(found.begin() + count, found.end());
  return found;
}

int64_t CudnnDescriptor::get(cudnnBackendAttributeName_t name) const {
  int64_t value = 0, count = 0;
  require(cudnn().cudnnBackendGetAttribute(get(), name, CUDNN_TYPE_INT64, 1, &count, &value) == CUDNN_STATUS_SUCCESS, "reading");
  return value;
}

// ---- plans ----

CudnnPlan::CudnnPlan(const CudnnGraph& graph, cudnnHandle_t handle)
    : plan_(make_plan(graph, handle)), workspace_bytes_(static_cast<size_t>(plan_.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE))) {
  for (size_t i = 0; i < graph.tensors().size(); ++i)
    if (const auto& tensor = graph.tensors()[i]; tensor.kind == CudnnGraph::Tensor::Kind::number)
      numbers_[static_cast<CudnnGraph::Id>(i) + 1] = tensor.value;
}

void CudnnPlan::run(cudnnHandle_t handle, const std::map<CudnnGraph::Id, void*>& memory, void* workspace) const {
  std::vector<int64_t> ids;
  std::vector<void*> places;
  for (const auto& [id, place] : memory) ids.push_back(id), places.push_back(place);
  for (const auto& [id, value] : numbers_) ids.push_back(id), places.push_back(const_cast<float*>(&value));  // they are read only
  CudnnDescriptor arguments(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  arguments.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, std::span<const int64_t>(ids));
  arguments.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, std::span<void* const>(places));
  arguments.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace);
  arguments.finalize();
  require_cudnn(cudnn().cudnnBackendExecute(handle, plan_.get(), arguments.get()), "running a graph");
}

#if CUDNN_VERSION >= 90800
std::vector<size_t> cudnn_workspaces(const CudnnGraph& graph, const std::string& device) {
  CudnnDescriptor properties(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  properties.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, std::span<const char>(device));
  properties.finalize();
  std::vector<size_t> bytes;
  for (const CudnnDescriptor& engine : GraphDescriptors(graph, nullptr).engines(&properties))
    bytes.push_back(static_cast<size_t>(engine.get(CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE)));
  return bytes;
}
#endif

}  // namespace triax::cuda

#endif
