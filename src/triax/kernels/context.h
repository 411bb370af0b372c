// Where an operation runs. Every operation takes a Context first: on a CPU it runs at once on the
// OpenMP team of the caller; on a GPU it is queued on the stream of the context's queue and the call returns at
// once, unless it gives a number back. Operations never allocate device memory: scratch is an argument, or the queue's.
#pragma once

#include "triax/tensor/tensor.h"

namespace triax {

class DeviceQueue;

struct Context {
  Device device;
  DeviceQueue* queue = nullptr;  // on a GPU: kernels/device_queue.h
  bool in_layer = false;         // within a transformer layer, whose linear layers a queue may be told to multiply in FP8
};

}  // namespace triax
