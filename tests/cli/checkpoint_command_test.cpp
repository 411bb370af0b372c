// triax checkpoint, run as a user runs it.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "checkpoint/checkpoint_testing.h"
#include "cli/run_triax.h"
#include "triax/checkpoint/checkpoint.h"
#include "triax/checkpoint/safetensors.h"

namespace triax {
namespace {

namespace fs = std::filesystem;
using testing::expect_contains;

struct Outcome {
  int status;
  std::string output;  // standard output, then error
};

Outcome triax_checkpoint(const std::string& arguments) {
  const ProgramResult result = run_triax("checkpoint " + arguments);
  return {result.status, result.out + result.err};
}

// Steps 10 and 20 of a run, in two files each.
class CheckpointCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const int64_t step : {10, 20}) {
      CheckpointTarget target{folder_.path() / "checkpoints", step, 0, 2};
      const OwnedTensor a = testing::counting({4, 3}), b = testing::counting({2, 3}, 100);
      prepare_checkpoint(target);
      write_checkpoint_pieces(target, std::vector<TensorPiece>{whole_piece("a", a), {"b", {4, 3}, box_region({0, 0}, {2, 3}), b.view()}});
      target.rank = 1;
      write_checkpoint_pieces(target, std::vector<TensorPiece>{{"b", {4, 3}, box_region({2, 0}, {2, 3}), b.view()}});
      publish_checkpoint(target, R"({"step":1,"note":"x"})");
    }
  }
  std::string run() const { return folder_.path().string(); }
  TemporaryDirectory folder_;
};

TEST_F(CheckpointCommand, ListsAndVerifies) {
  Outcome outcome = triax_checkpoint("list " + run());
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  expect_contains(outcome.output, "step-00000020        96 B  2 files  2 tensors");
  EXPECT_EQ(triax_checkpoint("verify " + run()).status, 0);

  const fs::path file = folder_.path() / "checkpoints/step-00000020/pieces-00001-of-00002.safetensors";
  std::string bytes = read_file(file);
  bytes.back() ^= 1;
  testing::write_raw(file, bytes);
  outcome = triax_checkpoint("verify " + run());
  EXPECT_EQ(outcome.status, 1);
  expect_contains(outcome.output, "step 10: whole");
  expect_contains(outcome.output, "step 20: DAMAGED: " + file.string());
  expect_contains(outcome.output, "1 of 2 checkpoints are damaged");
  EXPECT_EQ(triax_checkpoint("verify " + file.parent_path().string()).status, 1);
  fs::resize_file(file, 8);
  expect_contains(triax_checkpoint("list " + run()).output, "step-00000020  DAMAGED: ");
}

TEST_F(CheckpointCommand, Inspects) {
  Outcome outcome = triax_checkpoint("inspect --norms " + run());
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  expect_contains(outcome.output, "step 20, 2 tensors, 24 elements, 96 B in 2 files");
  expect_contains(outcome.output, "a     f32    [4, 3]  48 B       1       22.4944\n");
  expect_contains(outcome.output, "b     f32    [4, 3]  48 B       2        355.12\n");
  EXPECT_EQ(triax_checkpoint("inspect --state " + run()).output, "{\"step\":1,\"note\":\"x\"}\n");
  outcome = triax_checkpoint("inspect " + run() + "/checkpoints/step-00000010/pieces-00001-of-00002.safetensors");
  expect_contains(outcome.output, "b[2:4, 0:3]  f32    [2, 3]");
  outcome = triax_checkpoint("inspect " + run() + "/none");
  EXPECT_EQ(outcome.status, 1);
  expect_contains(outcome.output, "none: there is no such checkpoint or run");
}

TEST_F(CheckpointCommand, Reshards) {
  const std::string out = run() + "/out";
  EXPECT_EQ(triax_checkpoint("reshard " + run() + " " + out + " --files 1").status, 0);
  const SafetensorsFile file(out + "/step-00000020/pieces-00000-of-00001.safetensors");
  EXPECT_EQ(file.get("b").shape, (Shape{4, 3}));  // whole, under its own name: readable by any tool
  EXPECT_EQ(triax_checkpoint("reshard " + out + " " + out + " --files 2").status, 0);
  const CheckpointReader reader(out + "/step-00000020");
  EXPECT_EQ(reader.index().files.size(), 2u);
  reader.verify();
  OwnedTensor b({4, 3}, DType::f32);
  reader.read("b", b);
  EXPECT_EQ(b.span<float>()[7], 101);
  EXPECT_EQ(reader.state(), R"({"step":1,"note":"x"})");
  const Outcome outcome = triax_checkpoint("reshard " + out + " " + out + " --files 3");
  EXPECT_EQ(outcome.status, 1);
  expect_contains(outcome.output, "choose 1 to 2");
}

}  // namespace
}  // namespace triax
