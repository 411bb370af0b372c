#include "triax/train/console.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "triax/base/text.h"

namespace triax {
namespace {

StepMetrics example(int64_t step) {
  StepMetrics m;
  m.step = step;
  m.total_steps = 1000;
  m.loss = 4.56789;
  m.learning_rate = 3e-4;
  m.gradient_norm = 1.25;
  m.tokens_per_second = 12345;
  m.model_flops_per_second = 3.21e11;
  m.mfu = 0.917;
  m.step_seconds = 0.5;
  return m;
}

// What a Console prints to a file.
std::string printed(bool terminal, const std::function<void(Console&)>& action) {
  std::FILE* file = std::tmpfile();
  Console console(file, terminal);
  action(console);
  std::string text(static_cast<size_t>(std::ftell(file)), '\0');
  std::rewind(file);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), file), text.size());
  std::fclose(file);
  return text;
}

TEST(Console, ColumnsStandUnderTheHeader) {
  EXPECT_EQ(
      step_header(1000),
      "         step      loss        lr grad norm  tokens/s   FLOP/s    MFU   s/step      ETA");
  EXPECT_EQ(
      step_columns(example(10), 495),
      "      10/1000    4.5679  3.00e-04     1.250    12.3 k    321 G  91.7%    0.500   8m 15s");
  EXPECT_EQ(step_columns(example(1000), 0).size(), step_header(1000).size());
}

TEST(Console, SentencesNameTheirNumbers) {
  EXPECT_EQ(
      step_sentence(example(10), 495),
      "step 10/1000  loss 4.5679  lr 3.00e-04  grad norm 1.250  tokens/s 12.3 k  FLOP/s 321 G  "
      "MFU 91.7%  s/step 0.500  ETA 8m 15s");
  StepMetrics m = example(10);
  m.total_steps = 0;
  m.mfu = 0;
  m.loss = std::nan("");
  m.loss_scale = 1024;
  m.skipped = true;
  EXPECT_EQ(
      step_sentence(m, 0),
      "step 10  loss nan  lr 3.00e-04  grad norm 1.250  tokens/s 12.3 k  FLOP/s 321 G  MFU -  "
      "s/step 0.500  skipped: gradients overflowed  loss scale 1024");
}

TEST(Console, AGpuTellsOfItself) {
  StepMetrics m = example(7);
  EXPECT_EQ(step_columns(m, 60).find("GPU"), std::string::npos);
  m.gpu = GpuFigures{.power_watts = 612.5, .temperature = 61, .memory_bytes = uint64_t{71} << 30, .held_back_by = "power cap"};
  EXPECT_TRUE(step_columns(m, 60).ends_with("  GPU 612 W 61 C 71.0 GiB, held back by power cap")) << step_columns(m, 60);
  m.gpu->held_back_by.clear();
  EXPECT_TRUE(step_sentence(m, 60).ends_with("  GPU 612 W 61 C 71.0 GiB")) << step_sentence(m, 60);
}

TEST(Console, HeaderComesBackAndPlainOutputHasNoColours) {
  const auto steps = [](Console& console) {
    for (int i = 1; i <= 61; ++i) console.step(example(i));
    console.validation({61, 1000, 4.0, 2048, 1.0, 0, {}});
  };
  const std::string terminal = printed(true, steps);
  EXPECT_EQ(std::count(terminal.begin(), terminal.end(), '\n'), 61 + 3 + 1);
  EXPECT_NE(terminal.find("\x1b["), std::string::npos);
  const std::string plain = printed(false, steps);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), '\n'), 61 + 1);
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
}

TEST(Console, ValidationTellsTheBest) {
  EXPECT_EQ(validation_line({50, 100, 2.0, 20480, 1.25, 0, {{"accuracy", 0.5}}}, true),
            "validation at step 50/100: loss 2.0000, perplexity 7.39, accuracy 0.5000 "
            "(20.5 k tokens in 1.2s), the best so far");
  const std::string text = printed(false, [](Console& console) {
    for (const double loss : {3.0, 2.0, 2.5, std::nan(""), 1.5})
      console.validation({1, 1, loss, 1, 1, 0, {}});
  });
  std::vector<bool> best;
  for (const std::string& line : split(text, '\n'))
    best.push_back(line.find("best") != std::string::npos);
  EXPECT_EQ(best, (std::vector<bool>{false, true, false, false, true, false}));
}

TEST(Console, SamplesCannotSteerTheTerminal) {
  const std::string text = printed(false, [](Console& console) {
    console.sample({3, "a\n", "b\x1b[2Jc\r"});
  });
  EXPECT_EQ(text, "sample at step 3:\n  a\n  b [2Jc \n");
}

TEST(Console, MemoryTable) {
  const MemoryUse uses[] = {{"weights", 300u << 20}, {"activations", 100u << 20}};
  EXPECT_EQ(format_memory_table(uses),
            "memory of a rank\n"
            "  weights         300 MiB   75%\n"
            "  activations     100 MiB   25%\n"
            "  total           400 MiB");
  EXPECT_EQ(format_memory_check(1000u << 20, 1020u << 20),
            "memory at its peak 1020 MiB, predicted 1000 MiB (+2.0%)");
  EXPECT_EQ(format_memory_table({}), "memory of a rank\n  total         0 B");
}

TEST(Console, Rates) {
  EXPECT_EQ(format_rate(0), "0.0");
  EXPECT_EQ(format_rate(999.6), "1.00 k");
  EXPECT_EQ(format_rate(1.234e12), "1.23 T");
  EXPECT_EQ(format_rate(std::nan("")), "-");
}

}  // namespace
}  // namespace triax
