// Runs the tests on all ranks together. Rank 0 prints for all; the job fails if a test fails on any.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>

#include "parallel/jobs.h"
#include "parallel/ranks.h"

namespace triax::test {
namespace {

World* the_world = nullptr;

// Failures on other ranks, with the rank; everything else would be said as often as there are ranks.
class FailurePrinter : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.failed())
      std::fprintf(stderr, "rank %d: %s:%d: %s\n", world().rank(), result.file_name() ? result.file_name() : "?",
                   result.line_number(), result.message());
  }
};

}  // namespace

World& world() { return *the_world; }

}  // namespace triax::test

int main(int argc, char** argv) {
  using namespace triax;
  using namespace triax::test;
  if (argc == 3 && std::strcmp(argv[1], "--job") == 0) return run_job(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return run_ranks({.progress = {.timeout = std::chrono::seconds(60)}}, [](World& world) {
    the_world = &world;
    if (world.rank() > 0) {
      testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
      delete listeners.Release(listeners.default_result_printer());
      listeners.Append(new FailurePrinter);
    }
    int failed = RUN_ALL_TESTS();
    world.communicator().all_reduce({&failed, {1}, DType::i32}, ReduceOp::max);
    return failed;
  });
}
