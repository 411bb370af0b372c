// Every case of the table, one test an operation.
#include <gtest/gtest.h>

#include <set>

#include "kernels/harness.h"

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

}  // namespace
}  // namespace triax::harness
