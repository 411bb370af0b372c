#include "triax/kernels/cuda/queue.h"

#ifdef TRIAX_CUDA

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "triax/base/error.h"
#include "triax/base/log.h"
#include "triax/base/shared_library.h"
#include "triax/kernels/cuda/cudnn_attention.h"
#include "triax/kernels/cuda/operations.h"
#include "triax/tensor/device.h"

namespace triax::cuda {

void fail_cuda(int code, const char* what) {
  fail("CUDA: {}: {}", what, cudaGetErrorString(static_cast<cudaError_t>(code)));
}

namespace {

constexpr size_t kBiasBytes = size_t{1} << 20;  // at the end of the scratch: a bias in 16 bits
constexpr size_t kProductBytes = size_t{32} << 20;
constexpr size_t kNumbers = 512;  // read at a time

void require_success(cudaError_t code, const char* what) {
  if (code != cudaSuccess) fail_cuda(code, what);
}

// The functions of cuBLASLt that are used, under their own names.
struct Library {
#define TRIAX_CUBLASLT_FUNCTIONS(f)                                                                              \
  f(cublasLtCreate) f(cublasLtDestroy) f(cublasLtMatmulDescCreate) f(cublasLtMatmulDescDestroy)                  \
      f(cublasLtMatmulDescSetAttribute) f(cublasLtMatrixLayoutCreate) f(cublasLtMatrixLayoutDestroy)             \
          f(cublasLtMatmulPreferenceCreate) f(cublasLtMatmulPreferenceSetAttribute)                              \
              f(cublasLtMatmulPreferenceDestroy) f(cublasLtMatmulAlgoGetHeuristic) f(cublasLtMatmul)
#define TRIAX_DECLARE(name) decltype(&::name) name = nullptr;
  TRIAX_CUBLASLT_FUNCTIONS(TRIAX_DECLARE)
#undef TRIAX_DECLARE

  Library() {
    SharedLibrary library(fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR), TRIAX_CUDA_LIBRARIES,
                          fmt::format(". It is part of the CUDA toolkit {}; name its folder in LD_LIBRARY_PATH", CUBLAS_VER_MAJOR));
#define TRIAX_FIND(name) library.find(name, #name);
    TRIAX_CUBLASLT_FUNCTIONS(TRIAX_FIND)
#undef TRIAX_FIND
    check(library.missing().empty(), "{}", library.missing());
  }
};

void require_success(cublasStatus_t status, const char* what) {
  check(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt: {}: status {}", what, static_cast<int>(status));
}

cudaDataType_t data_type(DType dtype) {
  return dtype == DType::f32 ? CUDA_R_32F : dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_16F;
}

uint32_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  return static_cast<uint32_t>(std::min<uintptr_t>(256, address & (~address + 1)));
}

// How a bias is given to the library.
enum class BiasAs { nothing, f32, like_c };

// What a product's algorithm depends on.
using Key = std::array<int64_t, 18>;

struct Plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t first = nullptr, second = nullptr, result = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  BiasAs bias = BiasAs::nothing;
  bool exists = false;
};

// A CUDA graph: one launch instead of hundreds. The first time the work runs as it is, since what loads kernels or chooses
// algorithms cannot be recorded; the second time it is recorded.
class RecordedWork final : public RepeatedWork {
 public:
  explicit RecordedWork(cudaStream_t stream) : stream_(stream) {}
  ~RecordedWork() override {
    if (recorded_) cudaGraphExecDestroy(recorded_);
  }
  RecordedWork(const RecordedWork&) = delete;
  RecordedWork& operator=(const RecordedWork&) = delete;

  void run(const std::function<void()>& work) override {
    if (!recorded_ && times_++ > 0 && records_) record(work);
    if (recorded_) return require_success(cudaGraphLaunch(recorded_, stream_), "replaying a graph");
    work();
  }

 private:
  void record(const std::function<void()>& work) {
    require_success(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording a graph");
    cudaGraph_t graph = nullptr;
    try {
      work();
    } catch (...) {
      cudaStreamEndCapture(stream_, &graph);
      if (graph) cudaGraphDestroy(graph);
      throw;
    }
    cudaError_t code = cudaStreamEndCapture(stream_, &graph);
    if (code == cudaSuccess) code = cudaGraphInstantiate(&recorded_, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    if (code == cudaSuccess) return;
    cudaGetLastError();  // not one of what follows
    log_warning("work on the GPU cannot be recorded as a graph ({}); it is queued operation by operation", cudaGetErrorString(code));
    recorded_ = nullptr, records_ = false;
  }

  cudaStream_t stream_;
  cudaGraphExec_t recorded_ = nullptr;
  int times_ = 0;
  bool records_ = true;
};

class Queue : public DeviceQueue {
 public:
  explicit Queue(Device on) {
    device = on;
    require_device(on);
    operations = &cuda::operations();
    buffer_ = Buffer(kQueueBytes, on, "scratch of kernels");
    scratch = buffer_.data();
    scratch_bytes = kQueueBytes - kBiasBytes;
    // A blocking stream: copies and allocations of the legacy stream wait for it, and it for them.
    cudaStream_t created;
    require_success(cudaStreamCreate(&created), "making a stream");
    stream = created;
    require_success(cudaMallocHost(reinterpret_cast<void**>(&numbers_), kNumbers * sizeof(double)), "pinned memory");
    require_success(library_.cublasLtCreate(&handle_), "starting");
    const Gpu gpu = find_gpus().gpus[static_cast<size_t>(on.index)];
    has_float8 = 10 * gpu.major + gpu.minor >= 89;
  }
  ~Queue() override {
#ifdef TRIAX_CUDNN
    attention_.reset();  // before its stream
#endif
    for (auto& [key, plan] : plans_) destroy(plan);
    library_.cublasLtDestroy(handle_);
    cudaFreeHost(numbers_);
    cudaStreamDestroy(native());
  }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  void read(const void* at, std::span<double> to) override {
    for (size_t first = 0; first < to.size(); first += kNumbers) {
      const size_t count = std::min(kNumbers, to.size() - first);
      require_success(cudaMemcpyAsync(numbers_, static_cast<const double*>(at) + first, count * sizeof(double),
                                      cudaMemcpyDeviceToHost, native()),
                      "reading numbers");
      synchronize();
      std::copy_n(numbers_, count, to.begin() + static_cast<std::ptrdiff_t>(first));
    }
  }
  void synchronize() override { require_success(cudaStreamSynchronize(native()), "the work on the GPU"); }

  bool multiply(const Product& p) override {
    const Plan& plan = plan_of(p);
    if (!plan.exists) return false;
    const bool sums_bias = p.epilogue == Product::Epilogue::bias_gradient;
    const Tensor sums(static_cast<char*>(scratch) + scratch_bytes, p.bias.shape(), DType::f32, device);
    if (sums_bias) {
      set<const void*>(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, sums.raw());
    } else if (plan.bias != BiasAs::nothing) {
      const void* bias = p.bias.raw();
      if (plan.bias == BiasAs::like_c) {
        void* narrow = static_cast<char*>(scratch) + scratch_bytes;
        operations->convert(context(), p.bias, Tensor(narrow, p.bias.shape(), p.c.dtype(), device));
        bias = narrow;
      }
      set(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    }
    if (p.pre.defined() && p.epilogue != Product::Epilogue::none)
      set<const void*>(plan, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.pre.raw());
    set_factors(p, plan);
    const float one = 1, beta = p.beta;
    // Our rows are the library's columns: the product is taken of the transposed operands, in turn.
    require_success(library_.cublasLtMatmul(handle_, plan.operation, &one, p.b.raw(), plan.first, p.a.raw(), plan.second, &beta,
                                            p.c.raw(), plan.result, p.c.raw(), plan.result, &plan.algorithm, scratch,
                                            kProductBytes, native()),
                    "a product");
    if (sums_bias) operations->add_scaled(context(), 1.0f, sums, p.bias);  // the library does not add
    return true;
  }

  std::unique_ptr<RepeatedWork> repeated() override { return std::make_unique<RecordedWork>(native()); }

  void attend(const EqualAttention& attention) override {
#ifdef TRIAX_CUDNN
    if (!attention_) attention_ = std::make_unique<CudnnAttention>(stream);
    attention_->run(context(), attention);
#else
    fail("this build of triax has no cuDNN (cudnn.h was not found beside the CUDA toolkit); use train.attention = \"own\"");
#endif
  }

 private:
  cudaStream_t native() const { return static_cast<cudaStream_t>(stream); }

  template <typename T>
  void set(const Plan& plan, cublasLtMatmulDescAttributes_t attribute, T value) const {
    require_success(library_.cublasLtMatmulDescSetAttribute(plan.operation, attribute, &value, sizeof value), "describing a product");
  }

  void set_factors(const Product& p, const Plan& plan) const {
    if (!p.in_float8()) return;
    set<const void*>(plan, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, p.b_codes.factor);
    set<const void*>(plan, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, p.a_codes.factor);
  }

  cublasLtMatrixLayout_t layout_of(const Tensor& x, const Product::Codes& codes = {}) const {
    cublasLtMatrixLayout_t layout;
    const cudaDataType_t type = !codes.factor ? data_type(x.dtype()) : codes.format == Float8::e4m3 ? CUDA_R_8F_E4M3 : CUDA_R_8F_E5M2;
    require_success(library_.cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(x.dim(1)),
                                                        static_cast<uint64_t>(x.dim(0)), std::max(x.stride(0), x.dim(1))),
                    "describing a matrix");
    return layout;
  }

  const Plan& plan_of(const Product& p) {
    const Tensor& pre = p.pre;
    const int64_t type_of_c = static_cast<int64_t>(p.c.dtype()) + (rounds_to_tf32(p) ? 100 : 0);
    const int64_t type_of_a = static_cast<int64_t>(p.a.dtype()) + (p.in_float8() && p.a_codes.format == Float8::e5m2 ? 100 : 0);
    const Key key = {p.a.dim(0), p.a.dim(1), p.a.stride(0), p.b.dim(0), p.b.dim(1), p.b.stride(0), p.c.stride(0),
                     type_of_a, type_of_c, p.transpose_a, p.transpose_b,
                     p.beta != 0, static_cast<int64_t>(p.epilogue), p.bias.defined(), pre.defined() ? pre.stride(0) : 0,
                     alignment_of(p.a.raw()) << 16 | alignment_of(p.b.raw()), alignment_of(p.c.raw()),
                     alignment_of(pre.raw())};
    const auto found = plans_.find(key);
    if (found != plans_.end()) return found->second;
    Plan plan;
    for (const BiasAs bias : ways_of_bias(p)) {
      destroy(plan);
      plan = make_plan(p, bias);
      if (plan.exists) break;
    }
    return plans_.emplace(key, plan).first->second;
  }

  // In the order in which they are tried.
  static std::vector<BiasAs> ways_of_bias(const Product& p) {
    if (!p.bias.defined() || p.epilogue == Product::Epilogue::none) return {BiasAs::nothing};
    const bool fits = p.bias.bytes() <= kBiasBytes;
    if (p.in_float8()) return fits ? std::vector{BiasAs::like_c} : std::vector<BiasAs>{};
    if (p.epilogue == Product::Epilogue::bias_gradient) return fits ? std::vector{BiasAs::f32} : std::vector<BiasAs>{};
    return fits ? std::vector{BiasAs::f32, BiasAs::like_c} : std::vector{BiasAs::f32};
  }

  static cublasLtEpilogue_t epilogue_of(const Product& p) {
    switch (p.epilogue) {
      case Product::Epilogue::none: return CUBLASLT_EPILOGUE_DEFAULT;
      case Product::Epilogue::bias: return CUBLASLT_EPILOGUE_BIAS;
      case Product::Epilogue::gelu: return p.bias.defined() ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
      case Product::Epilogue::gelu_gradient: return CUBLASLT_EPILOGUE_DGELU;
      case Product::Epilogue::bias_gradient: return CUBLASLT_EPILOGUE_BGRADB;  // of what is the library's second operand
    }
    return CUBLASLT_EPILOGUE_DEFAULT;
  }

  void describe_epilogue(const Product& p, const Plan& plan) const {
    if (p.epilogue == Product::Epilogue::none) return;
    set(plan, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(p));
    if (plan.bias != BiasAs::nothing) {
      const cudaDataType_t type = plan.bias == BiasAs::f32 ? CUDA_R_32F : data_type(p.c.dtype());
      set(plan, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(type));
      set<const void*>(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias.raw());
    }
    if (p.pre.defined()) {
      set<const void*>(plan, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.pre.raw());
      set<int64_t>(plan, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, std::max(p.pre.stride(0), p.pre.dim(1)));
    }
  }

  bool rounds_to_tf32(const Product& p) const { return tf32 && p.a.dtype() == DType::f32; }

  Plan make_plan(const Product& p, BiasAs bias) const {
    Plan plan;
    plan.bias = bias;
    const cublasComputeType_t compute = rounds_to_tf32(p) ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    require_success(library_.cublasLtMatmulDescCreate(&plan.operation, compute, CUDA_R_32F), "describing a product");
    set(plan, CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(plan, CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    describe_epilogue(p, plan);
    set_factors(p, plan);
    plan.first = layout_of(p.b, p.b_codes);
    plan.second = layout_of(p.a, p.a_codes);
    plan.result = layout_of(p.c);
    cublasLtMatmulPreference_t preference;
    require_success(library_.cublasLtMatmulPreferenceCreate(&preference), "describing a product");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      require_success(library_.cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), "describing a product");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kProductBytes});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(p.b.raw()));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(p.a.raw()));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(p.c.raw()));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(p.c.raw()));
    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    const cublasStatus_t status = library_.cublasLtMatmulAlgoGetHeuristic(handle_, plan.operation, plan.first, plan.second, plan.result,
                                                                          plan.result, preference, 1, &result, &count);
    library_.cublasLtMatmulPreferenceDestroy(preference);
    plan.exists = status == CUBLAS_STATUS_SUCCESS && count > 0;
    plan.algorithm = result.algo;
    return plan;
  }

  void destroy(Plan& plan) const {
    if (plan.operation) library_.cublasLtMatmulDescDestroy(plan.operation);
    for (cublasLtMatrixLayout_t layout : {plan.first, plan.second, plan.result})
      if (layout) library_.cublasLtMatrixLayoutDestroy(layout);
    plan = {};
  }

  Library library_;
  Buffer buffer_;
  double* numbers_ = nullptr;  // pinned
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, Plan> plans_;
#ifdef TRIAX_CUDNN
  std::unique_ptr<CudnnAttention> attention_;  // when first wanted
#endif
};

}  // namespace

std::unique_ptr<DeviceQueue> make_queue(Device device) { return std::make_unique<Queue>(device); }

}  // namespace triax::cuda

#endif
