// Data-parallel loops over the OpenMP team of this rank.
//
// Work is cut into pieces whose borders depend only on the problem, never on the number of threads,
// so that reductions over pieces give the same bits on any machine.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace triax {

int num_threads();
void set_num_threads(int threads);
// Cores this process may run on (affinity and container limits respected).
int available_cores();

namespace detail {
void run_pieces(int64_t pieces, void* context, void (*body)(void*, int64_t));
}

// body(piece) for every piece in [0, pieces); pieces are handed out dynamically. The first exception
// is rethrown in the caller.
template <typename Body>
void parallel_pieces(int64_t pieces, Body&& body) {
  detail::run_pieces(pieces, &body, [](void* context, int64_t piece) {
    (*static_cast<std::remove_reference_t<Body>*>(context))(piece);
  });
}

// body(begin, end) over [0, n) in pieces of `grain` (the last may be shorter).
template <typename Body>
void parallel_for(int64_t n, int64_t grain, Body&& body) {
  const int64_t pieces = (n + grain - 1) / grain;
  parallel_pieces(pieces, [&](int64_t piece) {
    body(piece * grain, std::min(n, (piece + 1) * grain));
  });
}

}  // namespace triax
