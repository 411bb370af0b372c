#include "triax/generate/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cuda_on_host/queue.h"
#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"

namespace triax {
namespace {

// Every token is one letter; token 26 ends a document.
class LetterTokenizer final : public Tokenizer {
 public:
  LetterTokenizer() { special_.eod = 26; }
  using Tokenizer::encode;
  std::string_view kind() const override { return "letters"; }
  int64_t vocab_size() const override { return 27; }
  const SpecialTokens& special_tokens() const override { return special_; }
  bool is_special(int32_t id) const override { return id == 26; }
  void encode(std::string_view text, std::vector<int32_t>& ids, std::vector<ByteRange>*) const override {
    for (const char c : text) ids.push_back(c - 'a');
  }
  void encode_with_special(std::string_view text, std::vector<int32_t>& ids,
                           std::vector<ByteRange>* offsets) const override {
    encode(text, ids, offsets);
  }
  void append_piece(int32_t id, bool, std::string& out) const override {
    if (id < 26) out += static_cast<char>('a' + id);
  }
  std::string_view token_bytes(int32_t id) const override {
    return std::string_view("abcdefghijklmnopqrstuvwxyz").substr(static_cast<size_t>(id), 1);
  }
  std::string token_text(int32_t id) const override { return std::string(token_bytes(id)); }
  std::optional<int32_t> id_of(std::string_view) const override { return std::nullopt; }
  bool starts_word(int32_t) const override { return true; }
  void save(const std::filesystem::path&) const override {}

 private:
  SpecialTokens special_;
};

class GeneratorTest : public testing::Test {
 protected:
  GeneratorTest()
      : model_(whole_gpt({.vocab_size = 27, .hidden_size = 48, .num_layers = 3, .num_heads = 4, .max_positions = 40,
                          .init_std = 0.4, .vocab_multiple = 8}, DType::f32), false) {
    model_.parameters().initialize({}, 5);
  }

  // The model's most likely continuation, computed without a cache: the whole text again for each token.
  std::string greedy_without_cache(std::string text, int64_t count) const {
    const int64_t prompt = static_cast<int64_t>(text.size());
    Context context;
    for (int64_t k = 0; k < count; ++k) {
      const auto n = static_cast<int64_t>(text.size());
      std::vector<int32_t> tokens, positions(static_cast<size_t>(n));
      tokenizer_.encode(text, tokens, nullptr);
      std::iota(positions.begin(), positions.end(), 0);
      const std::vector<Span> spans = {{0, n}};
      const std::vector<float> weights(static_cast<size_t>(n), 0.0f);
      MicroBatch batch;
      batch.tokens = batch.targets = {tokens.data(), {n}, DType::i32};
      batch.positions = {positions.data(), {n}, DType::i32};
      batch.weights = {const_cast<float*>(weights.data()), {n}, DType::f32};
      batch.layout = {.spans = spans, .max_length = n, .training = false};
      Arena stash_size, workspace_size;
      model_.allocate_stash(n, stash_size);
      model_.allocate_workspace(n, false, workspace_size);
      Arena stash_arena("s", stash_size.peak()), workspace_arena("w", workspace_size.peak());
      StageStash stash = model_.allocate_stash(n, stash_arena);
      StageWorkspace workspace = model_.allocate_workspace(n, false, workspace_arena);
      model_.forward(context, batch, {}, {}, 1, false, stash, workspace);
      OwnedTensor norm({1, 48}, DType::f32), logits({1, 32}, DType::f32);
      model_.logits(context, stash.inputs.back().narrow(0, n - 1, 1), norm, logits);
      const auto values = logits.span<float>().first(26);
      text += static_cast<char>('a' + (std::max_element(values.begin(), values.end()) - values.begin()));
    }
    return text.substr(static_cast<size_t>(prompt));
  }

  GenerateOptions greedy(int64_t count) const {
    GenerateOptions options;
    options.sampling.temperature = 0;
    options.max_tokens = count;
    options.stop_at_end_of_document = false;
    return options;
  }

  LetterTokenizer tokenizer_;
  Gpt model_;
};

TEST_F(GeneratorTest, TheCacheChangesNothing) {
  const Generator generator(model_, tokenizer_);
  const std::vector<std::string> prompts = {"hello", "a", "thequickbrownfox", "zz"};
  const auto made = generator.generate(prompts, greedy(12));
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (std::ranges::count(made[i].tokens, 26) > 0) continue;  // the reference has no end of document
    EXPECT_EQ(made[i].text, greedy_without_cache(prompts[i], 12)) << prompts[i];
  }
}

TEST_F(GeneratorTest, ABatchGivesWhatEachPromptGivesAlone) {
  const Generator generator(model_, tokenizer_);
  GenerateOptions options = greedy(15);
  const auto together = generator.generate({"abc", "nopqrst"}, options);
  EXPECT_EQ(together[0].tokens, generator.generate({"abc"}, options)[0].tokens);
  EXPECT_EQ(together[1].tokens, generator.generate({"nopqrst"}, options)[0].tokens);
}

TEST_F(GeneratorTest, TheSeedDecides) {
  const Generator generator(model_, tokenizer_);
  GenerateOptions options;
  options.max_tokens = 20;
  options.seed = 1;
  const auto first = generator.generate({"abc"}, options)[0].tokens;
  EXPECT_EQ(first, generator.generate({"abc"}, options)[0].tokens);
  options.seed = 2;
  EXPECT_NE(first, generator.generate({"abc"}, options)[0].tokens);
}

TEST_F(GeneratorTest, StopsBeforeAStopStringAndStreamsTheSameText) {
  const Generator generator(model_, tokenizer_);
  const std::string all = generator.generate({"hello"}, greedy(30))[0].text;
  const std::string stop = all.substr(6, 3);
  GenerateOptions options = greedy(30);
  options.stop = {stop, "neverthere"};
  std::string streamed;
  const Generation made = generator.generate({"hello"}, options, [&](size_t i, std::string_view text) {
    EXPECT_EQ(i, 0u);
    streamed += text;
  })[0];
  EXPECT_EQ(made.text, all.substr(0, all.find(stop)));
  EXPECT_EQ(made.finish_reason, "stop");
  EXPECT_EQ(streamed, made.text);
}

TEST_F(GeneratorTest, EndsWhereTheModelEnds) {
  const Generator generator(model_, tokenizer_);
  const Generation made = generator.generate({"hello"}, greedy(1000))[0];
  EXPECT_EQ(made.finish_reason, "context full");
  EXPECT_EQ(made.tokens.size(), 35u);
  EXPECT_THROW(generator.generate({std::string(40, 'a')}, greedy(1)), Error);
}

// On a device other than the CPU: the same tokens, with long texts and more sequences than share a product of logits.
TEST_F(GeneratorTest, AnEmulatedDeviceWritesTheSame) {
  const std::unique_ptr<DeviceQueue> queue = cuda_on_host::make_queue();
  const Context context = queue->context();
  Gpt there(whole_gpt(model_.config(), DType::f32, context.device), false);
  there.parameters().initialize(context, 5);
  const Generator expected(model_, tokenizer_), generator(there, tokenizer_, context);
  const std::vector<std::string> prompts = {"hello", "a", "thequickbrownfoxjumpsoverthelazydo", "zz"};
  GenerateOptions options = greedy(8);
  for (const double temperature : {0.0, 1.0}) {
    options.sampling.temperature = temperature;
    const auto want = expected.generate(prompts, options), got = generator.generate(prompts, options);
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(got[i].tokens, want[i].tokens) << prompts[i];
      for (size_t j = 0; j < got[i].tokens.size(); ++j)
        EXPECT_NEAR(got[i].log_probabilities[j], want[i].log_probabilities[j], 1e-4);
    }
  }
}

// Steps are recorded and replayed; where texts outgrow 256 tokens their attention is divided anew, and recorded again.
TEST_F(GeneratorTest, AnEmulatedDeviceRecordsAgainWhereTextsOutgrowTheWork) {
  ModelConfig config = model_.config();
  config.num_layers = 1, config.max_positions = 264;
  const std::unique_ptr<DeviceQueue> queue = cuda_on_host::make_queue();
  const Context context = queue->context();
  Gpt here(whole_gpt(config, DType::f32), false), there(whole_gpt(config, DType::f32, context.device), false);
  here.parameters().initialize({}, 5), there.parameters().initialize(context, 5);
  std::string longest;
  for (int i = 0; i < 252; ++i) longest += static_cast<char>('a' + i * i % 26);
  const std::vector<std::string> prompts = {longest, "thequickbrownfox"};
  const auto want = Generator(here, tokenizer_).generate(prompts, greedy(10));
  const auto got = Generator(there, tokenizer_, context).generate(prompts, greedy(10));
  for (size_t i = 0; i < prompts.size(); ++i) {
    ASSERT_EQ(got[i].tokens, want[i].tokens) << prompts[i];
    for (size_t j = 0; j < got[i].tokens.size(); ++j)
      EXPECT_NEAR(got[i].log_probabilities[j], want[i].log_probabilities[j], 1e-4) << i << ' ' << j;
  }
}

TEST_F(GeneratorTest, ManySequencesAreDrawnInTurns) {
  const Generator generator(model_, tokenizer_);
  const std::vector<std::string> prompts(70, "hello");
  const auto made = generator.generate(prompts, greedy(3));
  for (const Generation& one : made) EXPECT_EQ(one.tokens, made[0].tokens);
}

// In bf16 sums differ in their last bits, and the likeliest token where two are about as likely.
TEST_F(GeneratorTest, AnEmulatedDeviceIsCloseInBf16) {
  const std::unique_ptr<DeviceQueue> queue = cuda_on_host::make_queue();
  const Context context = queue->context();
  Gpt here(whole_gpt(model_.config(), DType::bf16), false), there(whole_gpt(model_.config(), DType::bf16, context.device), false);
  here.parameters().initialize({}, 5), there.parameters().initialize(context, 5);
  const auto want = Generator(here, tokenizer_).generate({"hello"}, greedy(1));
  const auto got = Generator(there, tokenizer_, context).generate({"hello"}, greedy(1));
  EXPECT_EQ(got[0].tokens, want[0].tokens);
  EXPECT_NEAR(got[0].log_probabilities[0], want[0].log_probabilities[0], 0.05);
}

TEST(Sampler, FollowsTheProbabilities) {
  Philox random(1);
  int counts[3] = {};
  for (int i = 0; i < 30000; ++i) {
    std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
    ++counts[sample_token(logits, {}, {}, random).token];
  }
  EXPECT_NEAR(counts[0], 6000, 300);
  EXPECT_NEAR(counts[1], 15000, 300);
  EXPECT_NEAR(counts[2], 9000, 300);
}

TEST(Sampler, TopKAndTopPCutTheTail) {
  Philox random(1);
  for (int i = 0; i < 500; ++i) {
    std::vector<float> logits = {std::log(0.2f), std::log(0.45f), std::log(0.35f)};
    EXPECT_NE(sample_token(logits, {}, {.top_k = 2}, random).token, 0);
    logits = {std::log(0.2f), std::log(0.45f), std::log(0.35f)};
    EXPECT_EQ(sample_token(logits, {}, {.top_p = 0.4}, random).token, 1);
  }
}

TEST(Sampler, ReportsTheModelsOwnProbabilityAndPenalizesRepetition) {
  Philox random(1);
  std::vector<float> logits = {1.0f, 3.0f, 2.5f};
  const std::vector<int32_t> seen = {1, 1};
  const SampledToken token = sample_token(logits, seen, {.temperature = 0, .repetition_penalty = 2}, random);
  EXPECT_EQ(token.token, 2);
  EXPECT_NEAR(token.log_probability, 2.5 - std::log(std::exp(1.0) + std::exp(3.0) + std::exp(2.5)), 1e-6);
}

}  // namespace
}  // namespace triax
