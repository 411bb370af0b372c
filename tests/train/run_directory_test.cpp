#include "triax/train/run_directory.h"

#include <gtest/gtest.h>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/system.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

TEST(RunDirectory, RecorderWritesEveryFile) {
  TemporaryDirectory folder;
  const RunDirectory directory{folder.path() / "runs/a"};
  std::FILE* nowhere = std::fopen("/dev/null", "w");
  {
    Facts facts = machine_facts();
    facts.emplace_back("parameters", "12");
    RunRecorder recorder(directory, 0, "name = \"a\"\n", facts, Console(nowhere, false));
    recorder.memory({{"weights", 48}, {"program", resident_bytes()}});
    StepMetrics step;
    step.step = 1;
    step.extra = {{"mlm_loss", 1.0}};
    recorder.step(step);
    recorder.validation({1, 1, 2.0, 3, 1.0, 4, {}});
    recorder.sample({1, "p", "t"});
    recorder.finish();
  }
  std::fclose(nowhere);
  EXPECT_EQ(read_file(directory.config()), "name = \"a\"\n");
  EXPECT_EQ(read_metrics(directory.metrics()).train.size(), 1u);
  EXPECT_EQ(read_metrics(directory.metrics()).validation.size(), 1u);
  EXPECT_EQ(read_samples(directory.samples()).at(0).text, "t");
  const Facts facts = read_facts(directory.environment());
  EXPECT_EQ(facts.front().first, "triax");
  EXPECT_EQ(facts.back(), (std::pair<std::string, std::string>{"parameters", "12"}));
  const MemoryReport memory = read_memory(directory.memory());
  ASSERT_EQ(memory.predicted.size(), 2u);
  EXPECT_EQ(memory.predicted[0].purpose, "weights");
  EXPECT_GE(memory.peak_resident, memory.predicted[1].bytes);
  EXPECT_FALSE(fs::is_empty(directory.tensorboard()));
}

TEST(RunDirectory, AResumedRunKnowsItsBestValidationLoss) {
  TemporaryDirectory folder;
  const RunDirectory directory{folder.path()};
  std::FILE* out = std::tmpfile();
  RunRecorder(directory, 0, "", {}, Console(out, false)).validation({5, 10, 2.0, 1, 1.0, 1, {}});
  RunRecorder resumed(directory, 5, "", {}, Console(out, false));
  const auto told_best = [&](double loss) {
    const long begin = std::ftell(out);
    resumed.validation({6, 10, loss, 1, 1.0, 1, {}});
    std::string text(static_cast<size_t>(std::ftell(out) - begin), '\0');
    std::fseek(out, begin, SEEK_SET);
    EXPECT_EQ(std::fread(text.data(), 1, text.size(), out), text.size());
    return text.find("the best so far") != std::string::npos;
  };
  EXPECT_FALSE(told_best(2.5));
  EXPECT_TRUE(told_best(1.5));
  std::fclose(out);
}

TEST(RunDirectory, RefusesFilesThatAreSomethingElse) {
  TemporaryDirectory folder;
  const fs::path path = folder.path() / "memory.json";
  for (const char* text :
       {"", "[]", "{\"predicted\":3}", "{\"predicted\":[{\"purpose\":1,\"bytes\":2}]}",
        "{\"predicted\":[{\"purpose\":\"a\",\"bytes\":-2}]}"}) {
    write_file_atomic(path, text);
    EXPECT_THROW(read_memory(path), Error) << text;
  }
}

TEST(System, TellsPlausibleNumbers) {
  EXPECT_FALSE(cpu_info().model.empty());
  EXPECT_GT(memory_limit_bytes(), 100u << 20);
  EXPECT_GT(resident_bytes(), 1u << 20);
  EXPECT_GE(peak_resident_bytes(), resident_bytes() / 2);
  EXPECT_GT(memory_available_bytes(), 0u);
}

}  // namespace
}  // namespace triax
