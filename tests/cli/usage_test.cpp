// The command line as a user meets it: exit statuses, hints, completion, info, config.
#include <gtest/gtest.h>

#include "cli/run_triax.h"
#include "triax/base/file.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

TEST(Usage, HelpWithoutArguments) {
  const ProgramResult bare = run_triax(""), help = run_triax("--help");
  EXPECT_EQ(bare.status, 0);
  EXPECT_EQ(bare.out, help.out);
  EXPECT_NE(bare.out.find("Subcommands:"), std::string::npos);
  const ProgramResult bench = run_triax("bench");
  EXPECT_EQ(bench.status, 0);
  EXPECT_NE(bench.out.find("Usage: triax bench"), std::string::npos);
}

TEST(Usage, MistakesGiveOneLineWithAHint) {
  const struct {
    const char *arguments, *message;
  } kCases[] = {
      {"confg",
       "triax: error: triax has no subcommand confg; did you mean config? (see `triax --help`)\n"},
      {"bench tarin",
       "triax: error: triax bench has no subcommand tarin; did you mean train? (see `triax bench "
       "--help`)\n"},
      {"info --jsn",
       "triax: error: triax info has no option --jsn; did you mean --json? (see `triax info "
       "--help`)\n"},
      {"info extra",
       "triax: error: triax info does not take the argument \"extra\" (see `triax info --help`)\n"},
      {"bench train --precision half",
       "triax: error: --precision: half is not one of fp32, bf16, fp16, tf32, fp8 (see `triax bench train "
       "--help`)\n"},
      {"--log-level loud info",
       "triax: error: --log-level: loud is not one of debug, info, warning, error, off (see `triax "
       "--help`)\n"},
  };
  for (const auto& expected : kCases) {
    const ProgramResult result = run_triax(expected.arguments);
    EXPECT_EQ(result.status, 2) << expected.arguments;
    EXPECT_EQ(result.err, expected.message);
    EXPECT_EQ(result.out, "");
  }
}

TEST(Usage, FailedWorkHasStatusOne) {
  const ProgramResult result = run_triax("config /nonexistent/run.toml");
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err,
            "triax: error: cannot open /nonexistent/run.toml: No such file or directory\n");
}

TEST(Usage, GlobalOptionsFollowTheSubcommandToo) {
  EXPECT_EQ(run_triax("info --no-measure --log-level debug").status, 0);
  EXPECT_EQ(run_triax("--log-level debug info --no-measure").status, 0);
}

TEST(ConfigCommand, PrintedConfigurationIsAFixedPoint) {
  const TemporaryDirectory folder;
  const std::string file = folder.path() / "run.toml";
  const ProgramResult first =
      run_triax("config --set train.steps=7 --set data.train=a,b --comments");
  EXPECT_EQ(first.status, 0) << first.err;
  EXPECT_NE(first.out.find("train = [\"a\", \"b\"]"), std::string::npos);
  write_file_atomic(file, first.out);
  EXPECT_EQ(run_triax("config --comments " + file).out, first.out);
}

TEST(ConfigCommand, ReferencePageIsCurrent) {
  const std::string page = read_file(TRIAX_SOURCE_DIR "/docs/configuration.md");
  const ProgramResult reference = run_triax("config --reference");
  ASSERT_NE(reference.out.find("`micro_batch_size`"), std::string::npos) << reference.err;
  EXPECT_NE(page.find(reference.out), std::string::npos)
      << "the keys changed; run scripts/update-docs.sh";
}

TEST(InfoCommand, TellsTheMachine) {
  const ProgramResult text = run_triax("info --no-measure"),
                      json = run_triax("info --no-measure --json");
  for (const char* fact : {"triax ", "cpu ", "cores ", "memory ", "gpus ", "mpi ", "oneDNN "}) {
    EXPECT_NE(text.out.find(fact), std::string::npos) << fact;
  }
  EXPECT_TRUE(json.out.starts_with("{\n"));
}

// What bash offers after the words of a command line; the last one is being typed.
std::string bash_offers(const std::string& words) {
  return run_shell("bash -c 'source <(" TRIAX_BINARY " completion bash); COMP_WORDS=(triax " +
                   words +
                   "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _triax; echo \"${COMPREPLY[*]}\"'")
      .out;
}

TEST(Completion, BashOffersCommandsOptionsChoicesAndKeys) {
  EXPECT_EQ(bash_offers("conf"), "config\n");
  EXPECT_EQ(bash_offers("bench tr"), "train\n");
  EXPECT_EQ(bash_offers("config --comm"), "--comments\n");
  EXPECT_EQ(bash_offers("--log-level d"), "debug\n");
  EXPECT_EQ(bash_offers("completion z"), "zsh\n");
  EXPECT_EQ(bash_offers("config --set train.micro_b"), "train.micro_batch_size=\n");
  EXPECT_EQ(bash_offers("config --set train.precision = b"), "bf16\n");  // bash splits at "="
}

TEST(Completion, EveryShellHasAScript) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const ProgramResult result = run_triax(std::string("completion ") + shell);
    EXPECT_EQ(result.status, 0);
    EXPECT_NE(result.out.find("train.micro_batch_size="), std::string::npos) << shell;
  }
}

// What the machine does is no test's business; that the table of the op harness is timed is.
TEST(Usage, BenchKernelsTimesWhatIsChosen) {
  const ProgramResult bench = run_triax("bench kernels --threads 1 --seconds 0 --filter \"scatter_rows f32\"");
  EXPECT_EQ(bench.status, 0) << bench.err;
  EXPECT_NE(bench.out.find("1 threads, measured just now: f32 products "), std::string::npos) << bench.out;
  EXPECT_NE(bench.out.find("\nscatter_rows "), std::string::npos) << bench.out;
  EXPECT_NE(bench.out.find(" GB/s "), std::string::npos) << bench.out;
  EXPECT_NE(bench.out.find("   f32 n=2048 h=768 rows=4096"), std::string::npos) << bench.out;
  EXPECT_EQ(bench.out.find("embedding"), std::string::npos);
  const ProgramResult none = run_triax("bench kernels --filter nosuch");
  EXPECT_NE(none.status, 0);
  EXPECT_NE(none.err.find("--filter \"nosuch\": no operation and variant contains this"), std::string::npos) << none.err;
}

TEST(Usage, AGpuThatIsNotThereIsRefusedWithAReason) {
  if (!find_gpus().gpus.empty()) GTEST_SKIP() << "there is one";
  for (const char* command : {"bench kernels --device cuda", "bench train --device cuda", "generate nowhere --device cuda"}) {
    const ProgramResult result = run_triax(command);
    EXPECT_NE(result.status, 0);
    EXPECT_NE(result.err.find("--device cuda: no GPU can be used here: "), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("Use --device cpu, or another machine"), std::string::npos) << result.err;
  }
}

}  // namespace
}  // namespace triax
