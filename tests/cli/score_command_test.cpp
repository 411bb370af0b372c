// triax score, run as a user runs it.
#include <gtest/gtest.h>

#include <string>

#include "cli/run_triax.h"
#include "triax/base/file.h"

namespace triax {
namespace {

class ScoreCommand : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& content) {
    write_file_atomic(folder_.path() / name, content);
    return " " + (folder_.path() / name).string();
  }
  TemporaryDirectory folder_;
};

TEST_F(ScoreCommand, Entities) {
  const std::string gold = file("gold", "a\tB-X\nb\tI-X\nc\tO\n"), found = file("found", "a\tB-X\nb\tI-X\nc\tB-X\n");
  EXPECT_EQ(run_triax("score ner" + found + gold).out,
            "processed 3 tokens with 1 phrases; found: 2 phrases; correct: 1.\n"
            "accuracy:  66.67%; precision:  50.00%; recall: 100.00%; FB1:  66.67\n"
            "                X: precision:  50.00%; recall: 100.00%; FB1:  66.67  2\n");
  const ProgramResult other = run_triax("score ner" + file("other", "a\tO\nb\tO\nd\tO\n") + gold);
  EXPECT_EQ(other.status, 1);
  EXPECT_NE(other.err.find("are not the same sentence"), std::string::npos) << other.err;
}

TEST_F(ScoreCommand, Answers) {
  const std::string gold = file("gold", R"({"data": [{"paragraphs": [{"context": "the cat", "qas": [
    {"id": "1", "question": "?", "answers": [{"text": "cat", "answer_start": 4}]},
    {"id": "2", "question": "?", "answers": []}]}]}]})");
  const std::string found = file("found", R"({"1": "The cat!", "2": "x"})");
  EXPECT_NE(run_triax("score squad2" + found + gold).out.find("exact match   50.000\n"), std::string::npos);
  EXPECT_NE(run_triax("score squad2 --no-answer" + file("scores", R"({"1": 0.2, "2": 0.9})") + " --threshold 0.5" + found + gold)
                .out.find("exact match   100.000\n"), std::string::npos);
  EXPECT_NE(run_triax("score squad" + found + gold).err.find("question 2 has no answer, which SQuAD 1.1 does not know"), std::string::npos);
}

TEST_F(ScoreCommand, ClassesByIdOrOrder) {
  const std::string gold = file("gold", "{\"id\": \"u\", \"text\": \"t\", \"label\": \"yes\"}\n{\"id\": \"v\", \"text\": \"t\", \"label\": \"no\"}\n");
  const std::string found = file("found", "{\"id\": \"v\", \"prediction\": \"no\"}\n{\"id\": \"u\", \"prediction\": \"yes\"}\n");
  EXPECT_NE(run_triax("score classify --id id" + found + gold).out.find("accuracy     100.00%"), std::string::npos);
  EXPECT_NE(run_triax("score classify" + found + gold).out.find("accuracy     0.00%"), std::string::npos);
  EXPECT_NE(run_triax("score classify --json --negative no" + file("plain", "yes\nyes\n") + gold).out.find("\"recall\": 100.0"), std::string::npos);
  EXPECT_NE(run_triax("score classify" + file("short", "yes\n") + gold).err.find("has 1 labels for the 2 cases"), std::string::npos);
}

}  // namespace
}  // namespace triax
