#include "triax/base/config.h"

#include <gtest/gtest.h>

#include <memory>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/rng.h"
#include "triax/base/text.h"

namespace triax {
namespace {

enum class Kind { adam, adamw, sgd };

struct InnerConfig {
  std::vector<int64_t> sizes = {1, 2};
  template <class V>
  void visit(V& v) {
    v("sizes", sizes, "sizes of things").at_least(1);
  }
};

struct OptimizerConfig {
  double learning_rate = 3e-4;
  Kind kind = Kind::adamw;
  std::vector<double> betas = {0.9, 0.95};
  InnerConfig inner;
  template <class V>
  void visit(V& v) {
    v("learning_rate", learning_rate, "peak learning rate").at_least(0);
    v("kind", kind, "update rule", {"adam", "adamw", "sgd"});
    v("betas", betas, "decay of the moments").between(0, 1);
    v.section("inner", inner, "deeper");
  }
};

struct TrainConfig {
  int64_t steps = 100;
  int64_t micro_batch_size = 4;
  bool recompute = false;
  std::string dtype = "fp32";
  std::vector<std::string> paths;
  template <class V>
  void visit(V& v) {
    v("steps", steps, "optimizer steps").at_least(1);
    v("micro_batch_size", micro_batch_size, "samples a microbatch");
    v("recompute", recompute, "trade time for memory");
    v("dtype", dtype, "compute type | storage", {"fp32", "bf16"});
    v("paths", paths, "where the data is");
  }
};

struct RunConfig {
  std::string name = "run";
  TrainConfig train;
  OptimizerConfig optimizer;
  template <class V>
  void visit(V& v) {
    v("name", name, "title of the run");
    v.section("train", train, "the loop");
    v.section("optimizer", optimizer, "how weights move");
  }
};

std::string message_of(auto&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string load_error(std::string_view text) {
  RunConfig run;
  return message_of([&] { ConfigFields(run).load_text(text, "run.toml"); });
}

std::string set_error(std::string_view assignment) {
  RunConfig run;
  return message_of([&] { ConfigFields(run).set(assignment); });
}

TEST(Config, LoadsEveryType) {
  RunConfig run;
  ConfigFields fields(run);
  fields.load_text(R"(name = "a \"b\""
[train]
steps = 3e2
recompute = true
dtype = "bf16"
paths = ["x", "y z"]
[optimizer]
learning_rate = 1
kind = "sgd"
betas = [0.5, 1]
inner.sizes = [7]
)",
                   "run.toml");
  EXPECT_EQ(run.name, "a \"b\"");
  EXPECT_EQ(run.train.steps, 300);
  EXPECT_EQ(run.train.micro_batch_size, 4);
  EXPECT_TRUE(run.train.recompute);
  EXPECT_EQ(run.train.dtype, "bf16");
  EXPECT_EQ(run.train.paths, (std::vector<std::string>{"x", "y z"}));
  EXPECT_EQ(run.optimizer.learning_rate, 1.0);
  EXPECT_EQ(run.optimizer.kind, Kind::sgd);
  EXPECT_EQ(run.optimizer.betas, (std::vector<double>{0.5, 1.0}));
  EXPECT_EQ(run.optimizer.inner.sizes, std::vector<int64_t>{7});
  EXPECT_EQ(fields.name("train.steps"), "run.toml:3: train.steps");
  EXPECT_EQ(fields.name("train.micro_batch_size"), "train.micro_batch_size");
  EXPECT_TRUE(fields.is_set("name"));
  EXPECT_FALSE(fields.is_set("train.micro_batch_size"));
}

TEST(Config, NamesTheNearestKey) {
  EXPECT_EQ(load_error("\n[train]\nmicro_batchsize = 2"),
            "run.toml:3: unknown key train.micro_batchsize; did you mean train.micro_batch_size?");
  EXPECT_EQ(load_error("[train]\nlearning_rate = 2"),
            "run.toml:2: unknown key train.learning_rate; did you mean optimizer.learning_rate?");
  EXPECT_EQ(load_error("[optimiser]\nlearning_rate = 2"),
            "run.toml:1: unknown section optimiser; did you mean optimizer?");
  EXPECT_EQ(load_error("[quite_something_else_entirely]\na = 2"),
            "run.toml:1: unknown section quite_something_else_entirely; the sections are train, "
            "optimizer, optimizer.inner");
  EXPECT_EQ(set_error("trian.steps=2"),
            "--set: unknown key trian.steps; did you mean train.steps?");
  EXPECT_EQ(set_error("steps=2"), "--set: unknown key steps; did you mean train.steps?");
  EXPECT_EQ(set_error("zzzzzzzzzzzzzzzzzz=2"),
            "--set: unknown key zzzzzzzzzzzzzzzzzz; see `--print-config` for all keys");
}

TEST(Config, RefusesWrongTypesAndValues) {
  EXPECT_EQ(load_error("train.steps = 2.5"), "run.toml:1: train.steps = 2.5: must be an integer");
  EXPECT_EQ(load_error("train.steps = \"many\""),
            "run.toml:1: train.steps = \"many\": must be an integer");
  EXPECT_EQ(load_error("train.steps = 0"), "run.toml:1: train.steps = 0: must be at least 1");
  EXPECT_EQ(load_error("train.steps = 1e300"),
            "run.toml:1: train.steps = 1e+300: must be an integer");
  EXPECT_EQ(load_error("train.recompute = 1"),
            "run.toml:1: train.recompute = 1: must be true or false");
  EXPECT_EQ(load_error("train.dtype = \"bf15\""),
            "run.toml:1: train.dtype = \"bf15\": must be one of fp32, bf16; did you mean bf16?");
  EXPECT_EQ(load_error("train.dtype = 16"),
            "run.toml:1: train.dtype = 16: must be a string in quotes");
  EXPECT_EQ(load_error("train.paths = \"x\""),
            "run.toml:1: train.paths = \"x\": must be a list of strings");
  EXPECT_EQ(
      load_error("optimizer.kind = \"adan\""),
      "run.toml:1: optimizer.kind = \"adan\": must be one of adam, adamw, sgd; did you mean adam?");
  EXPECT_EQ(load_error("optimizer.betas = [0.5, 1.5]"),
            "run.toml:1: optimizer.betas = 1.5: must be between 0 and 1");
  EXPECT_EQ(load_error("optimizer.learning_rate = nan"),
            "run.toml:1: optimizer.learning_rate = nan: must be a number");
  EXPECT_EQ(load_error("train = 3"),
            "run.toml:1: train is a section: write [train] and its keys below");
  EXPECT_NE(load_error("train.steps = 1979-05-27").find("dates and tables"), std::string::npos);
  EXPECT_NE(load_error("[train.steps]\na = 1").find("train.steps = a table"), std::string::npos);
  EXPECT_EQ(load_error("train.steps = \n").substr(0, 11), "run.toml:1:");
  EXPECT_EQ(load_error("name = \"\xff\""), "run.toml:1: byte 8 is not valid UTF-8");
  EXPECT_EQ(set_error("train.steps"),
            "--set train.steps: write section.key=value, such as --set train.steps=100");
  EXPECT_EQ(set_error("train.steps=x"), "--set train.steps = x: must be an integer");
  EXPECT_EQ(set_error("train.recompute=yes"), "--set train.recompute = yes: must be true or false");
  EXPECT_EQ(set_error("optimizer.betas=0.5,high"),
            "--set optimizer.betas = high: must be a number");
}

TEST(Config, SetReadsByType) {
  RunConfig run;
  ConfigFields fields(run);
  fields.set("name=12");
  fields.set("train.steps=1_000");
  fields.set("train.recompute=true");
  fields.set("train.paths=a=b, c");
  fields.set("optimizer.betas=[0.1, 1]");
  fields.set("optimizer.inner.sizes=3");
  fields.set("optimizer.kind=adam");
  EXPECT_EQ(run.name, "12");
  EXPECT_EQ(run.train.steps, 1000);
  EXPECT_TRUE(run.train.recompute);
  EXPECT_EQ(run.train.paths, (std::vector<std::string>{"a=b", "c"}));
  EXPECT_EQ(run.optimizer.betas, (std::vector<double>{0.1, 1.0}));
  EXPECT_EQ(run.optimizer.inner.sizes, std::vector<int64_t>{3});
  EXPECT_EQ(run.optimizer.kind, Kind::adam);
  EXPECT_EQ(fields.name("train.steps"), "--set train.steps");
  fields.set("train.paths=");
  EXPECT_TRUE(run.train.paths.empty());
}

TEST(Config, PrintedTextRoundTripsExactly) {
  RunConfig run;
  run.name = "tab\t quote\" back\\ nul-ish\x01 del\x7f é\n";
  run.train.steps = INT64_MAX;
  run.train.paths = {"", "a#b"};
  run.optimizer.learning_rate = 0.1 + 0.2;
  run.optimizer.betas = {1e-300, 0.0, 1.0, 5e-324};
  for (const bool comments : {false, true}) {
    const std::string text = ConfigFields(run).print(comments);
    RunConfig again;
    ConfigFields(again).load_text(text, "printed");
    EXPECT_EQ(again.name, run.name);
    EXPECT_EQ(again.train.steps, run.train.steps);
    EXPECT_EQ(again.train.paths, run.train.paths);
    EXPECT_EQ(again.optimizer.learning_rate, run.optimizer.learning_rate);
    EXPECT_EQ(again.optimizer.betas, run.optimizer.betas);
    EXPECT_EQ(ConfigFields(again).print(comments), text);
  }
}

TEST(Config, PrintsSectionsWithAlignedComments) {
  RunConfig run;
  EXPECT_EQ(ConfigFields(run).print(true),
            "name = \"run\"  # title of the run\n\n"
            "# the loop\n"
            "[train]\n"
            "steps = 100           # optimizer steps (at least 1)\n"
            "micro_batch_size = 4  # samples a microbatch\n"
            "recompute = false     # trade time for memory\n"
            "dtype = \"fp32\"        # compute type | storage (one of fp32, bf16)\n"
            "paths = []            # where the data is\n\n"
            "# how weights move\n"
            "[optimizer]\n"
            "learning_rate = 0.0003  # peak learning rate (at least 0)\n"
            "kind = \"adamw\"          # update rule (one of adam, adamw, sgd)\n"
            "betas = [0.9, 0.95]     # decay of the moments (between 0 and 1)\n\n"
            "# deeper\n"
            "[optimizer.inner]\n"
            "sizes = [1, 2]  # sizes of things (at least 1)\n");
}

TEST(Config, IncludesAreOverriddenByTheIncluder) {
  TemporaryDirectory folder;
  std::filesystem::create_directory(folder.path() / "base");
  write_file_atomic(folder.path() / "base/common.toml", "train.steps = 5\nname = \"common\"\n");
  write_file_atomic(folder.path() / "base/base.toml",
                    "include = \"common.toml\"\nname = \"base\"\ntrain.micro_batch_size = 9\n");
  write_file_atomic(folder.path() / "run.toml",
                    "include = [\"base/base.toml\"]\ntrain.micro_batch_size = 2\n");
  RunConfig run;
  ConfigFields fields(run);
  fields.load_file(folder.path() / "run.toml");
  EXPECT_EQ(run.train.steps, 5);
  EXPECT_EQ(run.name, "base");
  EXPECT_EQ(run.train.micro_batch_size, 2);
  EXPECT_EQ(fields.name("train.steps"),
            (folder.path() / "base/common.toml:1: train.steps").string());
}

TEST(Config, BadIncludes) {
  TemporaryDirectory folder;
  const std::filesystem::path self = folder.path() / "self.toml";
  write_file_atomic(self, "include = \"self.toml\"\n");
  RunConfig run;
  EXPECT_NE(
      message_of([&] { ConfigFields(run).load_file(self); }).find("does a file include itself?"),
      std::string::npos);
  EXPECT_NE(load_error("include = \"missing.toml\"").find("run.toml:1: cannot open missing.toml"),
            std::string::npos);
  EXPECT_EQ(load_error("include = 3"),
            "run.toml:1: include = 3: must be a file name, or a list of file names");
}

TEST(Config, KeysAndReference) {
  RunConfig run;
  const std::vector<ConfigKey> keys = ConfigFields(run).keys();
  ASSERT_EQ(keys.size(), 10u);
  EXPECT_EQ(keys[4].key, "train.dtype");
  EXPECT_EQ(keys[4].type, "choice");
  EXPECT_EQ(keys[4].default_value, "\"fp32\"");
  EXPECT_EQ(keys[4].choices, (std::vector<std::string>{"fp32", "bf16"}));
  const std::string page = ConfigFields(run).reference();
  EXPECT_NE(
      page.find("| `dtype` | choice | `\"fp32\"` | compute type \\| storage (one of fp32, bf16) |"),
      std::string::npos);
  EXPECT_NE(page.find("### `[optimizer.inner]`"), std::string::npos);
}

// Damaged text is refused with an Error or read; nothing else happens. Run with TRIAX_SANITIZE to
// see what a plain build would not notice.
TEST(Config, DamagedTextIsReadOrRefused) {
  const std::string whole =
      "name = \"caf\xc3\xa9 \\u00e9\"\n[train]\nsteps = 1_000\ndtype = 'bf16'\npaths = [\"a\", "
      "\"\"\"b\n\"\"\"]\n"
      "[optimizer]\nlearning_rate = 3e-4\nbetas = [0.9, 0.95]\ninner = { sizes = [1, 0x2] }\n";
  {
    RunConfig run;
    ConfigFields(run).load_text(whole, "whole.toml");
  }
  constexpr std::string_view kPieces[] = {
      "[",   "]",     "[[", "\"",         "'",   "=",     ".",        "\n",
      "{",   "}",     ",",  "#",          "\\",  "\xff",  "\xe2\x28", "1979-05-27",
      "nan", "1e999", "-",  "include = ", "0b2", "train."};
  Philox random(11);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = whole;
    for (uint64_t edits = 1 + random.next_below(4); edits > 0; --edits) {
      const size_t at = random.next_below(text.size() + 1);
      switch (random.next_below(4)) {
        case 0:
          text.erase(at, random.next_below(6));
          break;
        case 1:
          text.insert(at, kPieces[random.next_below(std::size(kPieces))]);
          break;
        case 2:
          text.insert(at, 1, static_cast<char>(random.next_below(256)));
          break;
        default:
          text = text.substr(0, at);
          break;
      }
    }
    RunConfig run;
    ConfigFields fields(run);
    try {
      fields.load_text(text, "damaged.toml");
      const std::string printed = fields.print();
      RunConfig again;
      ConfigFields(again).load_text(printed, "printed.toml");
      EXPECT_EQ(ConfigFields(again).print(), printed) << text;
    } catch (const Error& error) {
      ++refused;
      EXPECT_EQ(find_invalid_utf8(error.what()), std::string_view::npos) << error.what();
      EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos) << error.what();
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_LT(refused, 3000);
  for (const char open : {'[', '{', '('}) {  // nesting must not exhaust the stack
    EXPECT_THROW(ConfigFields(*std::make_unique<RunConfig>())
                     .load_text("name = " + std::string(100000, open), "deep.toml"),
                 Error);
  }
}

}  // namespace
}  // namespace triax
