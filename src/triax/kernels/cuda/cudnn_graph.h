// A computation as cuDNN is told it: tensors of four dimensions, and operations between them. Plain data, which knows nothing
// of the library (cudnn_plan.h does), so that tests can compute what it says.
#pragma once

#ifdef TRIAX_CUDNN

#include <cudnn.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace triax::cuda {

class CudnnGraph {
 public:
  using Dims = std::array<int64_t, 4>;
  using Id = int64_t;  // of a tensor; from 1 on

  struct Tensor {
    enum class Kind { memory, temporary, number };
    cudnnDataType_t type;
    Dims dims, strides;
    Kind kind;
    float value = 0;  // of a number
  };
  struct Operation {
    enum class Kind { pointwise, reduction, product, reshape };
    Kind kind;
    int mode;  // cudnnPointwiseMode_t or cudnnReduceTensorOp_t
    std::vector<Id> operands;
    Id into;
    int64_t axis = -1;
  };

  // With memory of its own, which a run is given; one that exists between two operations only; and one that is a number.
  Id tensor(cudnnDataType_t type, const Dims& dims, const Dims& strides) { return add({type, dims, strides, Tensor::Kind::memory}); }
  Id temporary(cudnnDataType_t type, const Dims& dims, const Dims& strides) { return add({type, dims, strides, Tensor::Kind::temporary}); }
  Id temporary(cudnnDataType_t type, const Dims& dims) { return temporary(type, dims, packed(dims)); }
  Id number(float value) { return add({CUDNN_DATA_FLOAT, {1, 1, 1, 1}, {1, 1, 1, 1}, Tensor::Kind::number, value}); }

  // Element by element; operands broadcast. Into a tensor that is there, or a new one, shaped like the first operand.
  void apply_into(Id into, cudnnPointwiseMode_t mode, std::initializer_list<Id> operands, int64_t axis = -1) {
    operations_.push_back({Operation::Kind::pointwise, mode, operands, into, axis});
  }
  Id apply(cudnnPointwiseMode_t mode, std::initializer_list<Id> operands, cudnnDataType_t type = CUDNN_DATA_FLOAT, int64_t axis = -1) {
    const Id into = temporary(type, at(*operands.begin()).dims);
    apply_into(into, mode, operands, axis);
    return into;
  }
  // Over the last dimension.
  Id reduce(cudnnReduceTensorOp_t op, Id x) {
    const Dims& dims = at(x).dims;
    const Id into = temporary(CUDNN_DATA_FLOAT, {dims[0], dims[1], dims[2], 1});
    operations_.push_back({Operation::Kind::reduction, op, {x}, into});
    return into;
  }
  void multiply(Id a, Id b, Id into) { operations_.push_back({Operation::Kind::product, 0, {a, b}, into}); }
  // What lies in x's memory, seen with the dimensions and strides of `into`: a transposition.
  void reshape(Id x, Id into) { operations_.push_back({Operation::Kind::reshape, 0, {x}, into}); }

  const Tensor& at(Id id) const { return tensors_[static_cast<size_t>(id - 1)]; }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  const std::vector<Operation>& operations() const { return operations_; }

  static Dims packed(const Dims& dims) { return {dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1}; }

 private:
  Id add(const Tensor& tensor) {
    tensors_.push_back(tensor);
    return static_cast<Id>(tensors_.size());
  }

  std::vector<Tensor> tensors_;
  std::vector<Operation> operations_;
};

}  // namespace triax::cuda

#endif
