// Tuning shared by ranks: every step is that of one rank, masks of dropout too.
#include "triax/finetune/tuner.h"

#include <gtest/gtest.h>

#include "parallel/ranks.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/rng.h"
#include "triax/models/hf_bert.h"

namespace triax::finetune {
namespace {

namespace fs = std::filesystem;
using test::world;

// Records of 3 to 12 letters in a folder of rank 0; those with an "a" are "yes".
void write_task(const fs::path& folder) {
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (const char* letter : {"a", "b", "c", "d", "e"}) vocabulary += std::string(letter) + "\n";
  fs::create_directories(folder / "bert");
  write_file_atomic(folder / "bert/vocab.txt", vocabulary);
  Bert bert({.kind = ModelKind::bert, .vocab_size = 10, .hidden_size = 16, .num_layers = 2, .num_heads = 2, .ffn_hidden_size = 32, .max_positions = 20, .init_std = 0.1, .post_norm = true}, {}, Recompute::none, false);
  bert.parameters().initialize({}, 1);
  write_hf_bert(folder / "bert", bert, {});
  Philox random(1);
  std::string lines;
  for (int i = 0; i < 40; ++i) {
    std::string text;
    for (uint64_t n = 3 + random.next_below(10); n > 0; --n) text += std::string(1, static_cast<char>('a' + random.next_below(5))) + " ";
    lines += Json{{"text", text}, {"label", text.find('a') == std::string::npos ? "no" : "yes"}}.dump() + "\n";
  }
  write_file_atomic(folder / "data.jsonl", lines);
}

FinetuneConfig config(const fs::path& folder, const char* name) {
  FinetuneConfig c;
  c.model.path = (folder / "bert").string();
  c.data.train = c.data.dev = c.data.test = (folder / "data.jsonl").string();
  c.data.max_length = 16;
  c.train = {.epochs = 3, .batch_size = 8, .micro_batch_tokens = 32, .learning_rate = 3e-3};
  c.output.dir = (folder / name).string();
  return c;
}

TEST(SharedTuning, HasTheCurveOfOneRank) {
  std::unique_ptr<TemporaryDirectory> owned;
  if (world().rank() == 0) owned = std::make_unique<TemporaryDirectory>("shared-tuning");
  std::string path = owned ? owned->path().string() : "";
  path.resize(4096);
  world().communicator().broadcast({path.data(), {4096}, DType::u8}, 0);
  const fs::path folder = path.c_str();
  if (world().rank() == 0) write_task(folder);
  world().communicator().barrier();
  const TuningResult shared = run_tuning(TaskKind::classify, config(folder, "shared"), {}, &world());
  EXPECT_EQ(shared.seeds.at(0).epochs.size(), 3u);
  if (world().rank() == 0) {
    EXPECT_TRUE(fs::exists(folder / "shared/report.html"));
    const TuningResult alone = run_tuning(TaskKind::classify, config(folder, "alone"));
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(shared.seeds[0].epochs[i].loss, alone.seeds[0].epochs[i].loss, 1e-4);
      EXPECT_EQ(shared.seeds[0].epochs[i].dev, alone.seeds[0].epochs[i].dev);
    }
    EXPECT_EQ(shared.seeds[0].test.value, alone.seeds[0].test.value);
  }
  world().communicator().barrier();
}

}  // namespace
}  // namespace triax::finetune
