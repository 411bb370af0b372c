// The GPU's own kernels, compiled for the host and run thread by thread (cuda_on_host/): the same table of cases, less its
// largest ones.
#include <gtest/gtest.h>

#include <set>

#include "kernels/cuda_on_host/queue.h"
#include "triax/kernel_cases/harness.h"

namespace triax::harness {
namespace {

// A thread is a hundred times slower than the CPU's own kernels: of attention a share of the cases, more of those that
// go to tensor cores; no long spans.
bool is_left_out(const Case& entry, size_t index) {
  if (entry.variant.starts_with("fp8")) return false;
  if (entry.operation == "gemm" || entry.operation.starts_with("linear"))  // products are the CPU's here
    return index % (entry.operation == "gemm" ? 29 : 5) != 0;
  if (!entry.operation.starts_with("attention")) return entry.variant.find("20001") != std::string::npos;
  if (entry.variant.find("n=600") != std::string::npos || entry.variant.find("n=513") != std::string::npos) return true;
  if (entry.variant.find("dropout") != std::string::npos)
    return entry.variant.starts_with("f16") ||
           (entry.variant.starts_with("f32") && entry.variant.find("causal") == std::string::npos);
  return entry.operation != "attention_decode" && index % (entry.variant.starts_with("f32") ? 11 : 4) != 0;
}

class CudaOnHost : public testing::TestWithParam<std::string> {
 protected:
  CudaOnHost() { set_target(queue_->context()); }
  ~CudaOnHost() override { set_target({}); }
  std::unique_ptr<DeviceQueue> queue_ = cuda_on_host::make_queue();
};

std::vector<std::string> operation_names() {
  std::set<std::string> names;
  for (const Case& entry : all_cases()) names.insert(entry.operation);
  return {names.begin(), names.end()};
}

TEST_P(CudaOnHost, EqualsItsReference) {
  size_t index = 0;
  for (const Case& entry : all_cases()) {
    if (entry.operation != GetParam() || entry.purpose != Purpose::test || is_left_out(entry, index++)) continue;
    EXPECT_EQ(verify(entry), "") << entry.operation << " " << entry.variant;
  }
}

// The linear layers as they are where the library does in a product what follows it.
TEST(CudaOnHostFused, LinearLayersEqualTheirReferences) {
  const std::unique_ptr<DeviceQueue> queue = cuda_on_host::make_queue(true);
  set_target(queue->context());
  size_t index = 0;
  for (const Case& entry : all_cases()) {
    if (!entry.operation.starts_with("linear") || entry.purpose != Purpose::test || index++ % 7 != 0) continue;
    EXPECT_EQ(verify(entry), "") << entry.operation << " " << entry.variant;
  }
  set_target({});
}

INSTANTIATE_TEST_SUITE_P(Kernels, CudaOnHost, testing::ValuesIn(operation_names()),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace triax::harness
