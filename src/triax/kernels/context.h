// Where an operation runs. Every operation takes a Context first: on a CPU it runs at once on the
// OpenMP team of the caller; on a GPU it is queued on the context's stream and the call returns at
// once. Operations never allocate device memory: scratch is an argument.
#pragma once

#include "triax/tensor/tensor.h"

namespace triax {

struct Context {
  Device device;
  void* stream = nullptr;  // cudaStream_t on a GPU
};

}  // namespace triax
