// Parameters: what a model declares, and the flat memory they live in.
//
// A model lists its parameters once (name, global shape, which box of it this rank holds, how it
// starts). From that list follow the layout of one contiguous buffer each for weights, gradients and
// optimizer state, the same element at the same offset in all of them; initial values that do not
// depend on how the model is split; and the pieces a checkpoint is made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "triax/kernels/context.h"
#include "triax/tensor/arena.h"
#include "triax/tensor/tensor.h"

namespace triax {

enum class Init { zeros, ones, normal };

struct ParameterSpec {
  std::string name;
  Shape global_shape;  // without padding: rows of the box beyond it are padding
  Shape shape;   // of the box this rank holds
  Shape offset;  // of that box in the global tensor
  Init init = Init::zeros;
  float init_std = 0;         // of Init::normal
  bool weight_decay = false;  // matrices yes, biases and norms no
  bool compute_copy = false;  // read by kernels in the compute type (matrices) or in f32 (the rest)
  int64_t begin = 0;          // first element in the flat buffers; set by ParameterTable::add

  int64_t numel() const { return shape.numel(); }
};

// The parameters of one rank in order of declaration, each starting at a multiple of 64 elements.
class ParameterTable {
 public:
  // Returns the index of the new parameter.
  int add(ParameterSpec spec);
  const std::vector<ParameterSpec>& specs() const { return specs_; }
  const ParameterSpec& operator[](int index) const { return specs_[static_cast<size_t>(index)]; }
  // Elements of a flat buffer, gaps included.
  int64_t flat_size() const { return flat_size_; }
  // Elements held by this rank, gaps not counted.
  int64_t num_parameters() const;

 private:
  std::vector<ParameterSpec> specs_;
  int64_t flat_size_ = 0;
};

// The numbers themselves. Masters and gradients are f32; when the compute type is another one, the
// matrices have a copy in it.
class Parameters {
 public:
  Parameters(ParameterTable table, DType compute_type, bool with_gradients, Device device = {});

  const ParameterTable& table() const { return table_; }
  DType compute_type() const { return compute_type_; }

  Tensor master(int index) const { return view(master_, index, DType::f32); }
  Tensor gradient(int index) const { return view(gradient_, index, DType::f32); }
  // What kernels read: the copy in the compute type for matrices, the master for all else.
  Tensor weight(int index) const;

  Tensor flat_master() const { return flat(master_, DType::f32); }
  Tensor flat_gradient() const { return flat(gradient_, DType::f32); }
  // Undefined when the compute type is f32.
  Tensor flat_copy() const;

  // Fills the masters (and copies) from `seed`: each element is a function of the seed, the
  // parameter's name and its position in the global tensor.
  void initialize(const Context& context, uint64_t seed);
  // Copies the masters into the compute type, after they were changed by hand.
  void refresh_copies(const Context& context);

  // Rows for the memory table.
  std::vector<MemoryUse> memory() const;

 private:
  Tensor view(const Buffer& buffer, int index, DType dtype) const;
  Tensor flat(const Buffer& buffer, DType dtype) const;
  ParameterTable table_;
  DType compute_type_;
  Buffer master_, gradient_, copy_;
};

}  // namespace triax
