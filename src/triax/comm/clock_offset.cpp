#include "triax/comm/clock_offset.h"

#include <limits>

#include "triax/base/trace.h"

namespace triax {
namespace {

constexpr int kTag = 32'000;

}  // namespace

ClockOffset estimate_clock_offset(Communicator& group, int rounds) {
  ClockOffset best;
  if (group.rank() > 0) best.uncertainty = std::numeric_limits<double>::infinity();
  double time = 0;
  const Tensor message(&time, {1}, DType::f64);
  for (int rank = 1; rank < group.size(); ++rank) {
    for (int round = 0; round < rounds; ++round) {
      if (group.rank() == 0) {
        group.receive(message, rank, kTag);
        time = Trace::now();
        group.send(message, rank, kTag);
      } else if (group.rank() == rank) {
        const double asked = Trace::now();
        group.send(message, 0, kTag);
        group.receive(message, 0, kTag);
        const double answered = Trace::now(), uncertainty = (answered - asked) / 2;
        if (uncertainty < best.uncertainty) best = {time - (asked + answered) / 2, uncertainty};
      }
    }
  }
  return best;
}

}  // namespace triax
