// triax predict, run as a user runs it.
#include <gtest/gtest.h>

#include "cli/run_triax.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/text.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

class PredictCommand : public ::testing::Test {
 protected:
  // A tiny model, and 40 texts.
  PredictCommand() {
    const fs::path model = fs::path(TRIAX_SOURCE_DIR) / "tests/models/data/hf_bert/sequence";
    fs::create_directories(at("bert"));
    for (const char* file : {"config.json", "model.safetensors"}) fs::copy_file(model / file, fs::path(at("bert")) / file);
    std::string words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncats\ndogs\nsleep\n", texts;
    for (int i = 8; i < 31; ++i) words += "[unused" + std::to_string(i) + "]\n";  // as many as the model knows
    for (int i = 0; i < 40; ++i) {
      texts += "{\"text\": \"";
      for (int n = 0; n <= i % 7; ++n) texts += i * n % 3 ? "cats " : "dogs ";
      texts += std::string("sleep\", \"label\": \"") + (i % 2 ? "yes" : "no") + "\"}\n";
    }
    write_file_atomic(at("bert/vocab.txt"), words);
    write_file_atomic(at("texts.jsonl"), texts);
    write_file_atomic(at("run.toml"), "[model]\npath = \"" + at("bert") + "\"\n[data]\ntrain = \"" + at("texts.jsonl") + "\"\ndev = \"" + at("texts.jsonl") +
                                          "\"\nmax_length = 12\n[train]\nepochs = 1\nlearning_rate = 1e-2\n[output]\ndir = \"" + at("run") + "\"\n");
    const ProgramResult tuned = run_triax("finetune classify " + at("run.toml"));
    EXPECT_EQ(tuned.status, 0) << tuned.err;
  }
  std::string at(const std::string& name) const { return (folder_.path() / name).string(); }
  static std::vector<Json> lines(const std::string& text) {
    std::vector<Json> all;
    for (const std::string& line : split(text, '\n'))
      if (!line.empty()) all.push_back(Json::parse(line, "predictions"));
    return all;
  }
  std::string model() const { return at("run/seed-1/best"); }
  TemporaryDirectory folder_;
};

TEST_F(PredictCommand, AnswersAreThoseOfTheRunHoweverTheyAreComputed) {
  const std::vector<Json> expected = lines(read_file(at("run/seed-1/dev.jsonl")));
  for (const char* how : {"", " --tokens 1", " --tokens 50 --precision fp32 --device cpu"}) {
    const ProgramResult whole = run_triax("predict " + model() + " " + at("texts.jsonl") + how);
    EXPECT_EQ(whole.status, 0) << whole.err;
    const std::vector<Json> answers = lines(whole.out);
    ASSERT_EQ(answers.size(), expected.size()) << how;
    for (size_t i = 0; i < answers.size(); ++i) {
      EXPECT_EQ(answers[i]["text"], expected[i]["text"]);
      for (const char* label : {"yes", "no"}) EXPECT_NEAR(answers[i]["probabilities"][label].number(), expected[i]["probabilities"][label].number(), 1e-6) << how;
    }
  }
  const ProgramResult stream = run_shell("head -n 3 " + at("texts.jsonl") + " | " TRIAX_BINARY " predict " + model());
  ASSERT_EQ(lines(stream.out).size(), 3u) << stream.err;
  EXPECT_NEAR(lines(stream.out)[2]["probability"].number(), expected[2]["probability"].number(), 1e-6);
}

TEST_F(PredictCommand, RanksShareAFile) {
  const std::string mpirun = "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1 " TRIAX_MPIRUN " -n 2 --oversubscribe --bind-to none " TRIAX_BINARY " predict " + model();
  const std::string options = " " + at("texts.jsonl") + " --tokens 40 ";
  EXPECT_EQ(run_triax("predict " + model() + options + " -o " + at("one") + " --official " + at("one.tsv")).status, 0);
  const ProgramResult shared = run_shell(mpirun + options + " -o " + at("two") + " --official " + at("two.tsv"));
  EXPECT_EQ(shared.status, 0) << shared.err;
  EXPECT_EQ(read_file(at("two")), read_file(at("one")));
  EXPECT_EQ(read_file(at("two.tsv")), read_file(at("one.tsv")));
  const ProgramResult stream = run_shell(mpirun);
  EXPECT_NE(stream.status, 0);
  EXPECT_NE(stream.err.find("standard input is answered by one rank: name a file"), std::string::npos) << stream.err;
}

TEST_F(PredictCommand, RefusesWhatItCannotDo) {
  const auto error = [&](const std::string& options) { return run_triax("predict " + model() + " " + at("texts.jsonl") + options).err; };
  EXPECT_NE(error(" --precision tf32").find("needs --device cuda; a CPU has --precision fp32"), std::string::npos);
  EXPECT_NE(error(" --tokens 0").find("--tokens 0: must be positive"), std::string::npos);
  EXPECT_NE(error(" --tokens 1000000000000").find("compute fewer tokens at a time (--tokens, now 1000000000000)"), std::string::npos);
  const ProgramResult gpu = run_triax("predict " + model() + " " + at("texts.jsonl") + " --device cuda");
  EXPECT_TRUE(gpu.status == 0 || gpu.err.find("--device cuda: no GPU can be used here: ") != std::string::npos) << gpu.err;
}

}  // namespace
}  // namespace triax
