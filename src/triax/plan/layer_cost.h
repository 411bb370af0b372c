// The pieces that step.cpp adds up.
#pragma once

#include "triax/plan/step.h"

namespace triax {

// Sizes of one micro-batch on one tensor-parallel rank.
struct CostShape {
  const Hardware* hardware = nullptr;
  double n = 0, b = 0, s = 0, h = 0, f = 0, a = 0, t = 1;
  double vocabulary = 0;
  bool sequence_parallel = false;
  GroupPlace tensor_place;
};
CostShape cost_shape(const StepPlan& plan, const Hardware& hardware);

ChunkTimes head_times(const CostShape& shape);       // of the last stage
ChunkTimes embedding_times(const CostShape& shape);  // of the first

}  // namespace triax
