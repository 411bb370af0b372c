// triax convert with a BERT, run as a user runs it.
#include <gtest/gtest.h>

#include "cli/run_triax.h"
#include "triax/base/file.h"
#include "triax/checkpoint/checkpoint.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

TEST(ConvertCommand, ABertComesBackByteForByte) {
  for (const std::string name : {"pretraining", "megatron"}) {
    const fs::path hf = fs::path(TRIAX_SOURCE_DIR) / "tests/models/data/hf_bert" / name;
    const TemporaryDirectory folder;
    const std::string ours = (folder.path() / "ours").string(), theirs = (folder.path() / "theirs").string();
    ProgramResult result = run_triax("convert " + hf.string() + " " + ours + " --to triax");
    ASSERT_EQ(result.status, 0) << result.err;
    const CheckpointReader reader(resolve_checkpoint(ours));
    EXPECT_EQ(reader.get("masked.bias").shape.rank(), 1);
    result = run_triax("checkpoint verify " + ours);
    EXPECT_EQ(result.status, 0) << result.err;
    result = run_triax("convert " + ours + " " + theirs + " --to hf");
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(read_file(fs::path(theirs) / "model.safetensors"), read_file(hf / "model.safetensors")) << name;
    result = run_triax("convert " + ours + " " + theirs + "-half --to hf --dtype bf16");
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_LT(fs::file_size(theirs + "-half/model.safetensors"), fs::file_size(hf / "model.safetensors") * 7 / 10);
  }
}

TEST(ConvertCommand, SaysWhichHeadsOfABertAreNew) {
  const TemporaryDirectory folder;
  const ProgramResult result = run_triax("convert " TRIAX_SOURCE_DIR "/tests/models/data/hf_bert/tokens " + (folder.path() / "ours").string() + " --to triax");
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.err.find("masked.transform.weight"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace triax
