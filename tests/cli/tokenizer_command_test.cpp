// triax tokenizer, run as a user runs it.
#include <gtest/gtest.h>

#include <string>

#include "cli/run_triax.h"
#include "triax/base/file.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

class TokenizerCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text, lines;
    for (int i = 0; i < 20; ++i) {
      text += "the cat sat on the mat; the naïve cat didn't.\n";
      lines += R"({"body": "the cat sat on the mat"})" "\n";
    }
    write_file_atomic(folder_.path() / "a.txt", text);
    write_file_atomic(folder_.path() / "b.jsonl", lines);
  }
  std::string at(const std::string& name) const { return (folder_.path() / name).string(); }
  TemporaryDirectory folder_;
};

TEST_F(TokenizerCommand, LearnsEncodesAndDecodes) {
  const ProgramResult trained = run_triax("tokenizer train --vocab-size 280 -o " + at("vocab") + " " + at("a.txt"));
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_NE(trained.out.find("vocabulary   280 tokens in " + at("vocab")), std::string::npos) << trained.out;
  for (const char* name : {"tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"})
    EXPECT_TRUE(fs::exists(folder_.path() / "vocab" / name)) << name;

  const std::string t = " -t " + at("vocab") + " ";
  EXPECT_EQ(run_triax("tokenizer encode --tokens" + t + at("b.jsonl")).status, 0);
  ASSERT_EQ(run_triax("tokenizer encode" + t + at("a.txt") + " > " + at("ids")).status, 0);
  EXPECT_EQ(run_triax("tokenizer decode" + t + at("ids")).out, read_file(at("a.txt")));
  ASSERT_EQ(run_triax("tokenizer encode --lines" + t + at("a.txt") + " > " + at("ids")).status, 0);
  EXPECT_EQ(run_triax("tokenizer decode --lines" + t + at("ids")).out, read_file(at("a.txt")));
  EXPECT_EQ(run_shell("printf '<|endoftext|>' | " TRIAX_BINARY " tokenizer encode --special" + t).out, "0\n");
  EXPECT_EQ(run_shell("printf 'the cat' | " TRIAX_BINARY " tokenizer encode --tokens" + t).out, "the Ġcat\n");

  const ProgramResult inspected = run_triax("tokenizer inspect" + t + t + "-w cats " + at("a.txt"));
  EXPECT_EQ(inspected.status, 0) << inspected.err;
  EXPECT_NE(inspected.out.find("bytes per token"), std::string::npos);
  EXPECT_NE(inspected.out.find("cat | s"), std::string::npos);
}

TEST_F(TokenizerCommand, LearnsEveryKindAndComparesThem) {
  ASSERT_EQ(run_triax("tokenizer train --kind wordpiece --memory 64M --vocab-size 60 -o " + at("wp") + " " + at("a.txt")).status, 0);
  ASSERT_EQ(run_triax("tokenizer train --kind unigram --vocab-size 20 -o " + at("uni") + " " + at("a.txt")).status, 0);
  write_file_atomic(folder_.path() / "names", "the cat\nmat\n");
  const ProgramResult compared =
      run_triax("tokenizer compare " + at("wp") + " " + at("uni") + " --text " + at("a.txt") + " --words " + at("names") + " -w cats");
  ASSERT_EQ(compared.status, 0) << compared.err;
  for (const char* what : {"WordPiece", "SentencePiece Unigram", "tokens per name", "bytes per token"})
    EXPECT_NE(compared.out.find(what), std::string::npos) << compared.out;
  ASSERT_EQ(run_triax("tokenizer convert -t " + at("wp/vocab.txt") + " -o " + at("copy")).status, 0);
  EXPECT_EQ(read_file(at("copy/tokenizer.json")), read_file(at("wp/tokenizer.json")));
}

TEST_F(TokenizerCommand, ReadsAnyFieldOfJsonLines) {
  const ProgramResult result = run_triax("tokenizer train --vocab-size 260 --field body -o " + at("vocab") + " " + at("b.jsonl"));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("in 20 documents"), std::string::npos) << result.out;
}

TEST_F(TokenizerCommand, MistakesAreOneSentence) {
  const auto error = [](const std::string& arguments) {
    const ProgramResult result = run_triax("tokenizer " + arguments);
    EXPECT_NE(result.status, 0);
    return result.err;
  };
  EXPECT_EQ(error("train --vocab-size 100 -o " + at("vocab") + " " + at("a.txt")),
            "triax: error: a vocabulary of 100 is too small: the 256 bytes and the special tokens alone are 257\n");
  EXPECT_FALSE(fs::exists(folder_.path() / "vocab"));
  EXPECT_EQ(error("encode -t " + at("nothing") + " " + at("a.txt")), "triax: error: " + at("nothing") + ": no such file or folder\n");
  ASSERT_EQ(run_triax("tokenizer train --vocab-size 260 -o " + at("vocab") + " " + at("a.txt")).status, 0);
  EXPECT_EQ(error("decode -t " + at("vocab") + " " + at("a.txt")),
            "triax: error: \"the cat sat on the m\" is not a token id; decode reads numbers with white space between\n");
}

}  // namespace
}  // namespace triax
