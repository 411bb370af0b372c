// Tuning a tiny BERT for each task, on data it can learn in seconds.
#include "triax/base/json.h"
#include "triax/finetune/tuner.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "kernels/cuda_on_host/queue.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/rng.h"
#include "triax/finetune/batches.h"
#include "triax/finetune/model_folder.h"
#include "triax/finetune/predict.h"
#include "triax/finetune/start.h"
#include "triax/models/hf_bert.h"
#include "triax/tasks/chemprot.h"

namespace triax::finetune {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kWords = {"red", "green", "blue", "cat", "dog", "bird", "runs", "sleeps", "eats", "the", "a", "and"};

class Tuner : public testing::Test {
 protected:
  Tuner() {
    std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n##s\n<\n>\n[\n]\n?\nwhat\nis\n";
    for (const std::string& word : kWords) vocabulary += word + "\n";
    fs::create_directories(folder_.path() / "bert");
    write_file_atomic(folder_.path() / "bert/vocab.txt", vocabulary);
    const ModelConfig model{.kind = ModelKind::bert, .vocab_size = 25, .hidden_size = 32, .num_layers = 2, .num_heads = 2, .ffn_hidden_size = 64, .max_positions = 40,
                           .hidden_dropout = 0.05, .attention_dropout = 0.05, .init_std = 0.1, .post_norm = true};
    Bert bert(model);
    bert.parameters().initialize({}, 1);
    write_hf_bert(folder_.path() / "bert", bert, {});
    config_.model.path = at("bert");
    config_.data.max_length = 16;
    config_.data.stride = 4;
    config_.train = {.epochs = 12, .batch_size = 8, .learning_rate = 4e-3, .weight_decay = 0.0};
    config_.output.dir = at("out");
  }

  std::string at(const std::string& name) const { return (folder_.path() / name).string(); }
  const std::string& word() { return kWords[random_.next_below(kWords.size())]; }
  std::string words(int count) {
    std::string text = word();
    for (int i = 1; i < count; ++i) text += " " + word();
    return text;
  }
  void data(const std::string& train, const std::string& dev, const std::string& test) {
    write_file_atomic(at("train"), train);
    write_file_atomic(at("dev"), dev);
    write_file_atomic(at("test"), test);
    config_.data.train = at("train"), config_.data.dev = at("dev"), config_.data.test = at("test");
  }
  // Animals are entities, of two words after a colour. Some sentences are longer than the window.
  std::string tagged(int sentences) {
    std::string text;
    for (int s = 0; s < sentences; ++s) {
      for (uint64_t i = 0, n = 3 + random_.next_below(20), colour = 0; i < n; ++i) {
        const size_t w = random_.next_below(kWords.size());
        const bool animal = w >= 3 && w < 6;
        text += kWords[w] + "\t" + (animal ? colour ? "I-Animal" : "B-Animal" : w < 3 ? "B-Animal" : "O") + "\n";
        colour = w < 3;
      }
      text += "\n";
    }
    return text;
  }
  // A text with a cat is "yes".
  std::string labelled(int records) {
    std::string text;
    for (int i = 0; i < records; ++i) {
      const std::string sentence = words(6);
      text += Json{{"id", i}, {"text", sentence}, {"label", sentence.find("cat") != std::string::npos ? "yes" : "no"}}.dump() + "\n";
    }
    return text;
  }

  // A few of a model's answers, computed by a GPU's operations on a GPU's memory layout as far as the host can show it.
  void expect_same_on_an_emulated_device(const std::string& file, double tolerance) {
    const std::string best = at("out/seed-1/best");
    const TunedModel tuned = load_tuned_model(best),
                     emulated = load_tuned_model(best, {.tokens = 50, .device = {Device::Kind::emulated}}, nullptr, cuda_on_host::make_queue());
    const auto set = tuned.task->read(file, true);
    const std::span<const Example> few(set->examples.data(), 6);
    const auto expected = predict_all(*tuned.engine, few, 4096), logits = predict_all(*emulated.engine, few, 50);
    for (size_t i = 0; i < few.size(); ++i) {
      ASSERT_EQ(logits[i].size(), expected[i].size());
      for (size_t j = 0; j < logits[i].size(); ++j) EXPECT_NEAR(logits[i][j], expected[i][j], tolerance);
    }
  }

  TemporaryDirectory folder_;
  FinetuneConfig config_;
  Philox random_{7};
};

TEST_F(Tuner, LearnsEntitiesAndPredictsThem) {
  data(tagged(150), tagged(40), tagged(40));
  const TuningResult result = run_tuning(TaskKind::ner, config_);
  EXPECT_GT(result.seeds[0].test.value, 80) << summary(result);
  const std::string best = at("out/seed-1/best");
  for (const char* file : {"out/results.json", "out/report.html", "out/seed-1/dev.jsonl", "out/seed-1/test-predictions.tsv"}) EXPECT_TRUE(fs::exists(at(file))) << file;

  // What was written is what was scored; and any number of tokens at a time gives the same.
  const TunedModel tuned = load_tuned_model(best);
  const auto set = tuned.task->read(at("test"), true);
  std::string first;
  for (const int64_t tokens : {1, 100, 4096}) {
    const auto logits = predict_all(*tuned.engine, set->examples, tokens);
    EXPECT_DOUBLE_EQ(tuned.task->score(*set, logits).value, result.seeds[0].test.value);
    const std::string predictions = tuned.task->predictions(*set, logits);
    if (first.empty()) first = predictions;
    EXPECT_EQ(predictions, first);
  }
  EXPECT_EQ(first, read_file(at("out/seed-1/test.jsonl")));
  expect_same_on_an_emulated_device(at("test"), 1e-4);
  // Plain text and lists of words will do for prediction.
  const auto lines = tuned.task->parse("{\"text\": \"the red cat.\"}\n{\"words\": [\"a\", \"dog\"]}\n", "lines", false);
  EXPECT_EQ(lines->records, 2);
  EXPECT_THROW(tuned.task->parse("{\"txt\": 1}\n", "lines", false), Error);
  EXPECT_THROW(tuned.task->parse("cat\tB-Plant\n", "lines", true), Error);  // not a label it knows
}

TEST_F(Tuner, LearnsClassesOverSeveralSeeds) {
  data(labelled(200), labelled(50), labelled(50));
  config_.train.seeds = {1, 2};
  config_.train.class_weights = ClassWeights::balanced;
  config_.model.head_hidden_size = 16;
  const TuningResult result = run_tuning(TaskKind::stance, config_);
  for (const SeedResult& seed : result.seeds) EXPECT_GT(seed.test.value, 85) << summary(result);
  EXPECT_EQ(result.seeds[0].test.metric, "macro F1");
  const auto json = Json::parse(read_file(at("out/results.json")), "stored");
  const double a = result.seeds[0].test.value, b = result.seeds[1].test.value;
  EXPECT_NEAR(json["test"]["mean"].number(), (a + b) / 2, 1e-9);
  EXPECT_NEAR(json["test"]["deviation"].number(), std::abs(a - b) / std::sqrt(2.0), 1e-9);
  const std::string page = read_file(at("out/report.html"));
  for (const char* part : {"<svg", "Confusion", "seed 2", "learning_rate"}) EXPECT_NE(page.find(part), std::string::npos) << part;
  // The tuned folder can be tuned on: nothing of its head is fresh.
  const TunedModel tuned = load_tuned_model(at("out/seed-1/best"));
  config_.parallel.fit(1);
  EngineConfig of_one = engine_config(config_, model_of(at("out/seed-1/best")), tuned.task->head(), 1);
  of_one.sequence_length = of_one.packed_tokens = 16;
  Engine engine(of_one);
  EXPECT_TRUE(load_for_tuning(at("out/seed-1/best"), *tuned.task, engine).empty());
}

// From ChemProt's own files; what is written is scored by the official rules as it was here.
TEST_F(Tuner, LearnsRelationsOfChemprot) {
  config_.train.epochs = 15;
  config_.data.max_length = 24;
  const auto write_set = [&](const std::string& name, int articles) {
    std::string abstracts, entities, relations;
    for (int i = 0; i < articles; ++i) {
      const std::string chemical = kWords[random_.next_below(3)], verb = kWords[6 + random_.next_below(3)], gene = kWords[3 + random_.next_below(3)];
      abstracts += fmt::format("{}\tthe\ta {} {} the {}\n", i, chemical, verb, gene);
      const size_t first = 6, behind = first + chemical.size() + verb.size() + 6;  // in "the a red eats the cat"
      entities += fmt::format("{0}\tT1\tCHEMICAL\t{1}\t{2}\t{3}\n{0}\tT2\tGENE-Y\t{4}\t{5}\t{6}\n", i, first, first + chemical.size(), chemical, behind, behind + gene.size(), gene);
      if (verb != "sleeps") relations += fmt::format("{}\tCPR:{}\tY \tX\tArg1:T1\tArg2:T2\n", i, verb == "eats" ? 4 : 3);
    }
    write_file_atomic(at(name + "_abstracts.tsv"), abstracts);
    write_file_atomic(at(name + "_entities.tsv"), entities);
    write_file_atomic(at(name + "_relations.tsv"), relations);
    return at(name + "_abstracts.tsv");
  };
  config_.data.train = write_set("train", 150), config_.data.dev = write_set("dev", 30), config_.data.test = write_set("test", 30);
  const TuningResult result = run_tuning(TaskKind::relation, config_);
  EXPECT_GT(result.seeds[0].test.value, 80) << summary(result);
  const auto official = tasks::score_chemprot(at("out/seed-1/test-predictions.tsv"), at("test_relations.tsv"));
  EXPECT_NEAR(100 * official.total().f1(), result.seeds[0].test.value, 1e-9);
}

TEST_F(Tuner, LearnsInBf16) {
  data(tagged(100), tagged(20), tagged(20));
  config_.train.precision = Precision::bf16;
  config_.train.epochs = 8;
  const TuningResult result = run_tuning(TaskKind::ner, config_);
  EXPECT_GT(result.seeds[0].dev.value, 70) << summary(result);
  // Tells as it was tuned, or as it is asked to.
  const std::string best = at("out/seed-1/best");
  const TunedModel half = load_tuned_model(best), whole = load_tuned_model(best, {.precision = Precision::fp32});
  EXPECT_EQ(half.engine->config().compute_type(), DType::bf16);
  EXPECT_EQ(whole.engine->config().compute_type(), DType::f32);
  const auto set = half.task->read(at("dev"), true);
  EXPECT_EQ(half.task->score(*set, predict_all(*half.engine, set->examples, 512)).value, result.seeds[0].dev.value);
  EXPECT_NEAR(whole.task->score(*set, predict_all(*whole.engine, set->examples, 512)).value, result.seeds[0].dev.value, 5);
  // As if it had been tuned in FP8, on a GPU: answers must not depend on one another.
  std::string task = read_file(best + "/triax_task.json");
  const std::string tuned_in = "precision = \\\"bf16\\\"";
  ASSERT_NE(task.find(tuned_in), std::string::npos) << task;
  write_file_atomic(best + "/triax_task.json", task.replace(task.find(tuned_in), tuned_in.size(), "precision = \\\"fp8\\\""));
  EXPECT_EQ(load_tuned_model(best).engine->config().precision, Precision::bf16);
}

// A scale that is too high at first: steps are skipped until it fits, and the answers of the tuned model are those of its folder.
TEST_F(Tuner, LearnsInFp16WithRecomputation) {
  data(labelled(60), labelled(20), labelled(20));
  config_.train.epochs = 6;
  config_.train.precision = Precision::fp16;
  config_.train.initial_loss_scale = 0x1p26;
  config_.train.recompute = Recompute::full;
  const TuningResult result = run_tuning(TaskKind::classify, config_);
  EXPECT_GT(result.seeds[0].dev.value, 85) << summary(result);
  EXPECT_GT(Json::parse(read_file(at("out/seed-1/state.json")), "state")["loss_scale"]["skipped_steps"].integer(), 0);
  expect_same_on_an_emulated_device(at("dev"), 0.05);
  const TunedModel tuned = load_tuned_model(at("out/seed-1/best"));
  const auto set = tuned.task->read(at("dev"), true);
  EXPECT_EQ(tuned.task->score(*set, predict_all(*tuned.engine, set->examples, 512)).value, result.seeds[0].dev.value);
}

// However a step is cut into micro-batches, its masks of dropout are the same.
TEST_F(Tuner, MemoryChangesNoResult) {
  data(labelled(40), labelled(10), labelled(10));
  config_.train.epochs = 1;
  config_.model.head_hidden_size = 8;
  config_.model.head_dropout = 0.3;
  const auto loss = [&](int64_t tokens) {
    config_.train.micro_batch_tokens = tokens;
    config_.output.dir = at(fmt::format("{} tokens", tokens));
    return run_tuning(TaskKind::classify, config_).seeds[0].epochs[0].loss;
  };
  EXPECT_NEAR(loss(16), loss(4096), 1e-5);
}

TEST_F(Tuner, LearnsAnswers) {
  // "what is red ?" is answered by the word behind "red" in the context.
  const auto squad = [&](int count) {
    Json paragraphs = Json::array();
    for (int i = 0; i < count; ++i) {
      const std::string colour = kWords[random_.next_below(3)], before = "the " + kWords[6 + random_.next_below(3)] + " and", answer = kWords[3 + random_.next_below(3)];
      const std::string context = before + " " + colour + " " + answer + " " + kWords[6 + random_.next_below(3)] + " a";
      const Json place = {{"text", answer}, {"answer_start", before.size() + colour.size() + 2}};
      const Json question = {{"id", std::to_string(i)}, {"question", "what is " + colour + "?"}, {"answers", Json::array({place})}};
      paragraphs.push_back({{"context", context}, {"qas", Json::array({question})}});
    }
    const Json article = {{"title", "t"}, {"paragraphs", paragraphs}};
    return Json{{"version", "1.1"}, {"data", Json::array({article})}}.dump();
  };
  data(squad(150), squad(40), squad(40));
  config_.data.stride = 2;
  const TuningResult result = run_tuning(TaskKind::qa, config_);
  EXPECT_GT(result.seeds[0].test.value, 85) << summary(result);
  const TunedModel tuned = load_tuned_model(at("out/seed-1/best"));
  const auto set = tuned.task->parse("{\"question\": \"what is red?\", \"context\": \"the runs and red cat eats a\"}\n", "line", false);
  const auto answer = Json::parse(tuned.task->predictions(*set, predict_all(*tuned.engine, set->examples, 4096)), "predictions");
  EXPECT_EQ(answer["prediction"], "cat");
}

TEST_F(Tuner, LearnsChoicesAndNumbers) {
  // The ending with a cat is right.
  const auto choices = [&](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) {
      const size_t right = random_.next_below(2);
      std::vector<std::string> endings = {"the dog " + kWords[6 + random_.next_below(3)], "the bird " + kWords[6 + random_.next_below(3)]};
      endings[right] = "the cat " + kWords[6 + random_.next_below(3)];
      text += Json{{"text", words(3)}, {"endings", endings}, {"label", right}}.dump() + "\n";
    }
    return text;
  };
  data(choices(100), choices(30), choices(30));
  config_.data.choices = "endings";
  EXPECT_GT(run_tuning(TaskKind::choice, config_).seeds[0].test.value, 90);

  const auto numbers = [&](int count) {  // how many of three words are cats
    std::string text = "score\tsentence\n";
    for (int i = 0; i < count; ++i) {
      const uint64_t cats = random_.next_below(4);
      std::string sentence;
      for (uint64_t w = 0; w < 3; ++w) sentence += (w ? " " : "") + std::string(w < cats ? "cat" : "dog");
      text += fmt::format("{}\t{}\n", static_cast<double>(cats) / 3, sentence);
    }
    return text;
  };
  data(numbers(100), numbers(30), numbers(30));
  config_.data.choices.clear();
  config_.data.text = "sentence", config_.data.label = "score";
  config_.output.dir = at("numbers");
  EXPECT_GT(run_tuning(TaskKind::regress, config_).seeds[0].test.value, 0.9);
}

// A run that was interrupted twice ends with the same weights as one in one go.
TEST_F(Tuner, GoesOnWhereItStopped) {
  data(labelled(40), labelled(10), labelled(10));
  config_.train.epochs = 4;
  config_.output.dir = at("whole");
  run_tuning(TaskKind::classify, config_);

  config_.output.dir = at("pieces");
  for (const int64_t stop : {1, 3})
    EXPECT_THROW(run_tuning(TaskKind::classify, config_, [stop](int64_t epoch) { check(epoch != stop, "interrupted"); }), Error);
  EXPECT_TRUE(fs::exists(at("pieces/seed-1/resume")));
  run_tuning(TaskKind::classify, config_);
  EXPECT_FALSE(fs::exists(at("pieces/seed-1/resume")));
  EXPECT_EQ(read_file(at("pieces/seed-1/best/model.safetensors")), read_file(at("whole/seed-1/best/model.safetensors")));
  // A finished run is not done again, and another configuration does not go on with it.
  run_tuning(TaskKind::classify, config_);
  config_.train.learning_rate *= 2;
  EXPECT_THROW(run_tuning(TaskKind::classify, config_), Error);
}

// With a rate of its own the head alone learns while the encoder stays as it is.
TEST_F(Tuner, HeadHasARateOfItsOwn) {
  data(labelled(40), labelled(10), labelled(10));
  config_.train.epochs = 2;
  config_.train.learning_rate = 0;
  const auto tune = [&](double head_rate) {
    config_.train.head_learning_rate = head_rate;
    config_.output.dir = at(fmt::format("rate {}", head_rate));
    const TuningResult result = run_tuning(TaskKind::classify, config_);
    return std::pair(result.seeds[0].epochs, load_tuned_model(config_.output.dir + "/seed-1/best"));
  };
  const auto [still, before] = tune(0);
  const auto [moved, after] = tune(0.5);
  EXPECT_NE(still.back().loss, moved.back().loss);
  const ParameterTable& table = after.engine->model().parameters().table();
  for (int i = 0; i < static_cast<int>(table.specs().size()); ++i) {
    const auto a = before.engine->model().parameters().master(i).span<float>(), b = after.engine->model().parameters().master(i).span<float>();
    EXPECT_EQ(std::equal(a.begin(), a.end(), b.begin()), !table[i].name.starts_with("classifier.")) << table[i].name;
  }
}

TEST_F(Tuner, StopsEarly) {
  data(labelled(30), labelled(10), labelled(10));
  config_.train.learning_rate = 0;  // never better than the first
  config_.train.patience = 2;
  EXPECT_EQ(run_tuning(TaskKind::classify, config_).seeds[0].epochs.size(), 3u);
}

TEST_F(Tuner, MistakesAreNamed) {
  const auto error = [&](TaskKind kind) {
    try {
      run_tuning(kind, config_);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(error(TaskKind::ner).find("data.train and data.dev are both needed"), std::string::npos);
  config_.parallel.tensor_parallel = 2;  // of one rank
  data("", "", "");
  EXPECT_NE(error(TaskKind::ner).find("tensor_parallel"), std::string::npos);
  config_.parallel.tensor_parallel = 1;
  data(labelled(10), labelled(5), "{\"id\": 1, \"text\": \"cat\", \"label\": \"perhaps\"}\n");
  EXPECT_NE(error(TaskKind::classify).find("test:1: the label \"perhaps\" is none of no, yes"), std::string::npos);
  EXPECT_NE(error(TaskKind::relation).find("no entities are marked"), std::string::npos);
  EXPECT_NE(error(TaskKind::qa).find(": not JSON"), std::string::npos);
  EXPECT_THROW(task_kind_from("nre"), Error);
  data(labelled(10), labelled(5), labelled(5));
  config_.model.head_hidden_size = int64_t{1} << 40;
  const std::string large = error(TaskKind::classify);
  EXPECT_TRUE(large.starts_with("this run needs ")) << large;
  EXPECT_NE(large.find("lower train.micro_batch_tokens (now 4096)"), std::string::npos) << large;
  EXPECT_THROW(load_tuned_model(at("bert")), Error);
}

TEST(ClassWeights, AreTheInverseOfFrequency) {
  std::vector<Example> examples(4);
  examples[0].labels = {0, 0, 0, -1}, examples[1].labels = {0}, examples[2].labels = {1}, examples[3].labels = {};
  EXPECT_EQ(class_weights(examples, 3, ClassWeights::none), (std::vector<float>{1, 1, 1}));
  EXPECT_EQ(class_weights(examples, 3, ClassWeights::balanced), (std::vector<float>{0.625f, 2.5f, 1}));
}

}  // namespace
}  // namespace triax::finetune
