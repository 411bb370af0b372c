#include "triax/base/shared_library.h"

#include <gtest/gtest.h>

namespace triax {
namespace {

TEST(SharedLibrary, FindsFunctionsAndSaysWhatIsMissing) {
  SharedLibrary math("libm.so.6", "/nowhere");
  double (*cosine)(double) = nullptr;
  math.find(cosine, "cos");
  ASSERT_NE(cosine, nullptr) << math.missing();
  EXPECT_EQ(cosine(0), 1);
  EXPECT_EQ(math.missing(), "");
  math.find(cosine, "no_such_function");
  EXPECT_EQ(cosine, nullptr);
  EXPECT_EQ(math.missing(), "libm.so.6 has no no_such_function");

  SharedLibrary absent("libnosuch.so.9", "/nowhere", ". Install it");
  absent.find(cosine, "cos");
  EXPECT_EQ(cosine, nullptr);
  EXPECT_TRUE(absent.missing().starts_with("libnosuch.so.9 cannot be loaded (/nowhere/libnosuch.so.9: ")) << absent.missing();
  EXPECT_TRUE(absent.missing().ends_with("). Install it")) << absent.missing();
}

}  // namespace
}  // namespace triax
