#include "triax/base/file.h"

#include <gtest/gtest.h>

#include "triax/base/error.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

TEST(RandomAccessFile, ReadsAnyPlaceAndNoticesACut) {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "f";
  write_file_atomic(path, "0123456789");
  RandomAccessFile file(path);
  EXPECT_EQ(file.size(), 10u);
  char out[4] = {};
  file.read(6, out, 4);
  EXPECT_EQ(std::string(out, 4), "6789");
  file.read(10, out, 0);
  EXPECT_THROW(file.read(7, out, 4), Error);
  RandomAccessFile moved = std::move(file);
  fs::resize_file(path, 3);
  moved.read(0, out, 3);
  EXPECT_EQ(std::string(out, 3), "012");
  EXPECT_THROW(moved.read(2, out, 4), Error);
  EXPECT_THROW(RandomAccessFile(directory.path()), Error);
  EXPECT_THROW(RandomAccessFile(directory.path() / "none"), Error);
}

TEST(MappedFile, MayBePopulated) {
  const TemporaryDirectory directory;
  write_file_atomic(directory.path() / "f", "text");
  write_file_atomic(directory.path() / "empty", "");
  const MappedFile file(directory.path() / "f"), empty(directory.path() / "empty");
  file.populate();
  empty.populate();
  EXPECT_EQ(file.text(), "text");
  EXPECT_EQ(empty.text(), "");
}

}  // namespace
}  // namespace triax
