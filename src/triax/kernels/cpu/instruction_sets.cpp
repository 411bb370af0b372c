#include "triax/kernels/cpu/instruction_sets.h"

#include <hwy/highway.h>
#include <hwy/targets.h>

#include "triax/base/error.h"

namespace triax::cpu {
namespace {

std::vector<int64_t> targets() {
  hwy::SetSupportedTargetsForTest(0);
  return hwy::SupportedAndGeneratedTargets();
}

}  // namespace

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const int64_t target : targets()) names.emplace_back(hwy::TargetName(target));
  return names;
}

void use_instruction_set(const std::string& name) {
  const std::vector<int64_t> all = targets();
  if (name.empty()) return;
  for (const int64_t target : all)
    if (name == hwy::TargetName(target)) return hwy::SetSupportedTargetsForTest(target);
  fail("this CPU or build has no instruction set {}", name);
}

}  // namespace triax::cpu
