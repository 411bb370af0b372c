// triax pack, run as a user runs it.
#include <gtest/gtest.h>

#include "cli/run_triax.h"
#include "triax/base/file.h"
#include "triax/data/indexed_dataset.h"

namespace triax {
namespace {

class PackCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string lines;
    for (int i = 0; i < 400; ++i) lines += R"({"text": "the cat sat on the mat, number )" + std::to_string(i) + "\"}\n";
    write_file_atomic(folder_.path() / "a.jsonl", lines);
    const ProgramResult trained = run_triax("tokenizer train --vocab-size 300 -o " + at("vocab") + " " + at("a.jsonl"));
    ASSERT_EQ(trained.status, 0) << trained.err;
  }
  std::string at(const std::string& name) const { return (folder_.path() / name).string(); }
  ProgramResult pack(const std::string& arguments) const { return run_triax("pack " + arguments); }
  std::string file(const std::string& name) const { return read_file(folder_.path() / name); }
  TemporaryDirectory folder_;
};

TEST_F(PackCommand, PacksLooksSplitsAndMerges) {
  const ProgramResult packed = pack("--tokenizer " + at("vocab") + " -o " + at("one") + " " + at("a.jsonl"));
  ASSERT_EQ(packed.status, 0) << packed.err;
  EXPECT_NE(packed.out.find("400 documents"), std::string::npos) << packed.out;
  EXPECT_NE(pack("inspect " + at("one_text_document")).out.find("documents    400, 0 of them empty"), std::string::npos);
  EXPECT_NE(pack("verify --tokenizer " + at("vocab") + " " + at("one_text_document")).out.find("sound"), std::string::npos);
  EXPECT_EQ(pack("read --plain --first 7 -n 1 --tokenizer " + at("vocab") + " " + at("one_text_document")).out,
            "the cat sat on the mat, number 7\n");

  const ProgramResult split = pack("split --parts 3 -o " + at("part") + " " + at("one_text_document"));
  ASSERT_EQ(split.status, 0) << split.err;
  ASSERT_EQ(pack("merge -o " + at("again") + " " + at("part_0") + " " + at("part_1") + " " + at("part_2")).status, 0);
  EXPECT_TRUE(file("again.bin") == file("one_text_document.bin"));
  EXPECT_TRUE(file("again.idx") == file("one_text_document.idx"));
  ASSERT_EQ(pack("split --shares 8,1,1 -o " + at("share") + " " + at("one_text_document")).status, 0);
  EXPECT_EQ(IndexedDataset(folder_.path() / "share_train").num_documents(), 320);
  EXPECT_EQ(IndexedDataset(folder_.path() / "share_test").num_documents(), 40);
  EXPECT_NE(pack("split --parts 3 -o " + at("part") + " " + at("one_text_document")).err.find("exists already"), std::string::npos);
}

TEST_F(PackCommand, IndexesARunAheadOfTime) {
  ASSERT_EQ(pack("--tokenizer " + at("vocab") + " -o " + at("one") + " " + at("a.jsonl")).status, 0);
  write_file_atomic(folder_.path() / "run.toml", "[data]\ntrain = [\"" + at("one_text_document") + "\"]\ntokenizer = \"" + at("vocab") +
                                                     "\"\n[train]\nsteps = 10\nsequence_length = 16\n");
  const ProgramResult indexed = pack("index " + at("run.toml") + " --set train.steps=20");
  ASSERT_EQ(indexed.status, 0) << indexed.err;
  EXPECT_NE(indexed.out.find("epochs"), std::string::npos) << indexed.out;
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "one_text_document-cache"));
}

TEST_F(PackCommand, RanksPackTogether) {
  ASSERT_EQ(pack("--tokenizer " + at("vocab") + " -o " + at("one") + " " + at("a.jsonl")).status, 0);
  const ProgramResult ranks = run_shell(
      "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 " TRIAX_MPIRUN " -n 2 --oversubscribe " TRIAX_BINARY " pack --tokenizer " +
      at("vocab") + " -o " + at("two") + " " + at("a.jsonl"));
  ASSERT_EQ(ranks.status, 0) << ranks.err;
  EXPECT_NE(ranks.out.find("400 documents"), std::string::npos) << ranks.out;
  EXPECT_TRUE(file("two_text_document.bin") == file("one_text_document.bin"));
  EXPECT_TRUE(file("two_text_document.idx") == file("one_text_document.idx"));
}

}  // namespace
}  // namespace triax
