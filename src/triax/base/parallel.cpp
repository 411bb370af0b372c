#include "triax/base/parallel.h"

#include <omp.h>
#include <sched.h>

#include <exception>
#include <mutex>

namespace triax {

int num_threads() { return omp_get_max_threads(); }

void set_num_threads(int threads) { omp_set_num_threads(threads); }

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return omp_get_num_procs();
  return std::max(1, CPU_COUNT(&set));
}

namespace detail {

void run_pieces(int64_t pieces, void* context, void (*body)(void*, int64_t)) {
  if (pieces <= 0) return;
  if (pieces == 1 || omp_in_parallel() || omp_get_max_threads() == 1) {
    for (int64_t piece = 0; piece < pieces; ++piece) body(context, piece);
    return;
  }
  std::exception_ptr error;
  std::mutex mutex;
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    try {
      body(context, piece);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace detail
}  // namespace triax
