#include "triax/train/tensorboard.h"

#include <gtest/gtest.h>

#include <cstring>

#include "triax/base/file.h"

namespace triax {
namespace {

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[c & 15];
  }
  return out;
}

TEST(TensorBoard, Crc32cOfRfc3720) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);
}

// The same events written by the `tensorboard` Python package: data/make_tensorboard_fixture.py.
TEST(TensorBoard, SameBytesAsTheReferenceWriter) {
  const std::pair<std::string_view, double> values[] = {{"train/loss", 2.5},
                                                        {"train/learning_rate", 3e-4}};
  const std::string ours = tf_record(version_event(1700000000.25)) +
                           tf_record(restart_event(1700000000.5, 301)) +
                           tf_record(scalars_event(1700000001.0, 301, values)) +
                           tf_record(text_event(1700000002.0, 70000, "config", "# a\n\n| b |")) +
                           tf_record(scalars_event(1700000003.0, 0, {}));
  EXPECT_EQ(hex(ours), hex(read_file(TRIAX_TEST_DATA "/tensorboard.tfevents")));
}

TEST(TensorBoard, WriterFramesEveryRecord) {
  TemporaryDirectory folder;
  {
    TensorBoardWriter writer(folder.path() / "a/b", 10);
    const std::pair<std::string_view, double> values[] = {{"x", 1.0}};
    writer.scalars(11, values);
    writer.text(11, "t", std::string(300, 'm'));
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path() / "a/b"))
    files.push_back(entry.path());
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].filename().string().rfind("events.out.tfevents.", 0), 0u);
  std::string rest = read_file(files[0]);
  int records = 0;
  for (; !rest.empty(); ++records) {
    uint64_t length = 0;
    ASSERT_GE(rest.size(), 16u);
    std::memcpy(&length, rest.data(), 8);
    ASSERT_LE(length, rest.size() - 16);
    const std::string record = rest.substr(0, length + 16);
    EXPECT_EQ(tf_record(record.substr(12, length)), record);
    rest.erase(0, record.size());
  }
  EXPECT_EQ(records, 4);  // version, restart, scalars, text
}

}  // namespace
}  // namespace triax
