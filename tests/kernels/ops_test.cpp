// Every case of the table, one test an operation.
#include <gtest/gtest.h>

#include <set>

#include "triax/kernel_cases/harness.h"
#include "triax/kernels/cpu/instruction_sets.h"
#include "triax/kernels/device_queue.h"
#include "triax/tensor/device.h"

namespace triax::harness {
namespace {

std::vector<std::string> operations() {
  std::set<std::string> names;
  for (const Case& entry : all_cases()) names.insert(entry.operation);
  return {names.begin(), names.end()};
}

class Operation : public testing::TestWithParam<std::string> {};

TEST_P(Operation, EqualsItsReference) {
  for (const Case& entry : all_cases()) {
    if (entry.operation != GetParam() || entry.purpose != Purpose::test) continue;
    EXPECT_EQ(verify(entry), "") << entry.operation << " " << entry.variant;
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, Operation, testing::ValuesIn(operations()),
                         [](const auto& instance) { return instance.param; });

// On the GPU of this machine, where there is one.
class GpuOperation : public testing::TestWithParam<std::string> {};

TEST_P(GpuOperation, EqualsItsReference) {
  const Device device{Device::Kind::cuda, 0};
  if (const GpuList list = find_gpus(); list.gpus.empty()) GTEST_SKIP() << "no GPU: " << list.reason;
  const std::unique_ptr<DeviceQueue> queue = make_queue(device);
  set_target(queue->context());
  size_t count = 0;
  double largest = 0;
  for (const Case& entry : all_cases()) {
    if (entry.operation != GetParam() || entry.purpose != Purpose::test) continue;
    std::string wrong;
    try {
      wrong = verify(entry, &largest);
    } catch (const std::exception& error) {
      wrong = error.what();
    }
    EXPECT_EQ(wrong, "") << entry.operation << " " << entry.variant;
    ++count;
  }
  set_target({});
  fmt::print("{}: {} cases, largest error {:.0f} % of what is allowed\n", GetParam(), count, 100 * largest);
}

INSTANTIATE_TEST_SUITE_P(GpuTable, GpuOperation, testing::ValuesIn(operations()),
                         [](const auto& instance) { return instance.param; });

// The table above ran with the best instruction set this CPU has; here a share of it with each other.
TEST(InstructionSets, GiveTheSameResults) {
  const std::vector<std::string> sets = cpu::instruction_sets();
  for (size_t s = 1; s < sets.size(); ++s) {
    cpu::use_instruction_set(sets[s]);
    size_t index = 0;
    for (const Case& entry : all_cases()) {
      if (entry.purpose != Purpose::test || index++ % 6 != s) continue;
      EXPECT_EQ(verify(entry), "") << sets[s] << " " << entry.operation << " " << entry.variant;
    }
  }
  cpu::use_instruction_set("");
}

}  // namespace
}  // namespace triax::harness
