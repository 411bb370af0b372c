#include "triax/train/memory_limit.h"

#include <gtest/gtest.h>

#include "triax/base/error.h"
#include "triax/base/system.h"

namespace triax {
namespace {

TEST(MemoryLimit, RanksTakeGpusInTurn) {
  EXPECT_EQ(ranks_on_its_gpu(0, 1, 8), 1);
  EXPECT_EQ(ranks_on_its_gpu(7, 8, 8), 1);
  EXPECT_EQ(ranks_on_its_gpu(3, 4, 1), 4);
  EXPECT_EQ(ranks_on_its_gpu(0, 5, 2), 3);
  EXPECT_EQ(ranks_on_its_gpu(1, 5, 2), 2);
  EXPECT_EQ(ranks_on_its_gpu(4, 5, 2), 3);
}

TEST(MemoryLimit, RefusesWhatIsTooLargeAndSaysWhatWouldHelp) {
  const std::vector<MemoryUse> small = {{"weights", 1 << 20}}, large = {{"weights", size_t{1} << 50}};
  require_memory(small, {}, 0, nullptr, "");
  try {
    require_memory(large, {}, 0, nullptr, "lower something");
    FAIL();
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_TRUE(text.starts_with("this run needs 1.0 PiB and the machine has ")) << text;
    EXPECT_TRUE(text.ends_with("\nlower something")) << text;
    EXPECT_NE(text.find("weights"), std::string::npos) << text;
  }
  EXPECT_THROW(require_memory(small, {}, memory_limit_bytes(), nullptr, ""), Error);  // with what there is already
}

}  // namespace
}  // namespace triax
