// triax cite, from articles to who supports whom, run as a user runs it.
#include <gtest/gtest.h>

#include "cli/run_triax.h"
#include "triax/base/file.h"
#include "triax/base/json.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

constexpr const char* kArticles =
    "{\"id\": \"A\", \"text\": \"Introduction\\nMany agree [1]. Others differ [2, 3].\\nReferences\\n1. Lee J. Cats and their dogs. Nature. 2010;5:1-2.\\n"
    "2. Kim S. Birds that never sleep. Science. 2011;6:3-4.\\n3. Roe P. Fish of the deep. Cell. 2012;7:5-6.\\n\"}\n"
    "{\"id\": \"B\", \"text\": \"Introduction\\nSome differ [1]. Some differ [2]. Some agree [3].\\nReferences\\n1. Lee, J. Cats and their dogs. Nature 5 (2010).\\n"
    "2. Fox M. Mice at night. Cell. 2013;8:1-9.\\n3. Elk B. Trees. Cell. 2014;9:1-9.\\n\"}\n";

class CiteCommand : public ::testing::Test {
 protected:
  std::string at(const std::string& name) const { return (folder_.path() / name).string(); }
  void ran(const std::string& arguments) {
    const ProgramResult result = run_triax(arguments);
    ASSERT_EQ(result.status, 0) << result.err;
  }
  // A tiny model that learns two words; with `pair` it also sees the cited title.
  void tune(bool pair) {
    const fs::path model = fs::path(TRIAX_SOURCE_DIR) / "tests/models/data/hf_bert/sequence";
    fs::create_directories(at("bert"));
    for (const char* file : {"config.json", "model.safetensors"}) fs::copy_file(model / file, fs::path(at("bert")) / file, fs::copy_options::overwrite_existing);
    std::string words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n[\n]\n.\n1\n2\n3\n,\nmany\nsome\nothers\nagree\ndiffer\n";
    for (int i = 17; i < 31; ++i) words += "[unused" + std::to_string(i) + "]\n";  // as many as the model knows
    write_file_atomic(at("bert/vocab.txt"), words);
    std::string cases;
    for (int i = 0; i < 60; ++i) {
      const bool agree = i % 2 == 0;
      Json json{{"text", std::string(i % 3 ? "Some " : "Many ") + (agree ? "agree" : "differ") + " [" + std::to_string(1 + i % 3) + "]."}, {"label", agree ? "supporting" : "contrasting"}};
      if (pair) json["title"] = "Many";
      cases += json.dump() + "\n";
    }
    write_file_atomic(at("train"), cases);
    write_file_atomic(at("stance.toml"), "[model]\npath = \"" + at("bert") + "\"\n[data]\ntrain = \"" + at("train") + "\"\ndev = \"" + at("train") + "\"\nmax_length = 12\n" +
                                             (pair ? "pair = \"title\"\n" : "") + "[train]\nepochs = 8\nbatch_size = 8\nlearning_rate = 5e-3\n[output]\ndir = \"" + at("run") + "\"\n");
    ran("finetune stance " + at("stance.toml"));
  }
  TemporaryDirectory folder_;
};

TEST_F(CiteCommand, FromArticlesToWhoSupportsWhom) {
  write_file_atomic(at("articles.jsonl"), kArticles);
  ran("cite extract " + at("articles.jsonl") + " -o " + at("citing.jsonl"));
  for (const bool pair : {false, true}) {
    fs::remove_all(at("run"));
    tune(pair);
    const std::string command = "cite stance " + at("citing.jsonl") + " -m " + at("run/seed-1/best") + " -o " + at("stances.jsonl") + " --table " + at("table.tsv") + " --works " + at("works.tsv") +
                                " --report " + at("page.html");
    ran(command + (pair ? " --force" : ""));
    EXPECT_EQ(read_file(at("table.tsv")),
              "article\tcites\tauthor\tyear\ttitle\ttimes\tcontrasting\tsupporting\n"
              "A\t1\tLee\t2010\tCats and their dogs\t1\t0\t1\nA\t2\tKim\t2011\tBirds that never sleep\t1\t1\t0\nA\t3\tRoe\t2012\tFish of the deep\t1\t1\t0\n"
              "B\t1\tLee\t2010\tCats and their dogs\t1\t1\t0\nB\t2\tFox\t2013\tMice at night\t1\t1\t0\nB\t3\tElk\t2014\tTrees\t1\t0\t1\n");
    EXPECT_NE(read_file(at("works.tsv")).find("\nLee\t2010\tCats and their dogs\t2\t2\t1\t1\n"), std::string::npos);
    EXPECT_NE(read_file(at("page.html")).find("Most often supporting"), std::string::npos);
    const Json first = Json::parse(read_file(at("stances.jsonl")).substr(0, read_file(at("stances.jsonl")).find('\n')), "stances");
    EXPECT_EQ(first["citations"][size_t{0}]["stance"].text(), "supporting");
    EXPECT_GT(first["citations"][size_t{0}]["probability"].number(), 0.5);
    const ProgramResult again = run_triax(command);
    EXPECT_EQ(again.status, 1);
    EXPECT_NE(again.err.find("exists already"), std::string::npos) << again.err;
  }
  write_file_atomic(at("wrong.jsonl"), "{\"article\": \"A\"}\n");
  const std::string wrong = "cite stance " + at("wrong.jsonl") + " -m " + at("run/seed-1/best") + " -o " + at("none.jsonl");
  EXPECT_NE(run_triax(wrong).err.find("wrong.jsonl:1: not a line of `triax cite extract`"), std::string::npos) << run_triax(wrong).err;
  EXPECT_FALSE(fs::exists(at("none.jsonl")));
  EXPECT_EQ(run_triax(wrong + " --skip-bad").status, 0);
}

}  // namespace
}  // namespace triax
