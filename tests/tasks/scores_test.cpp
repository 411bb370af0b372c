// Every score against what the official scorers say; data/make_scores.py wrote the cases.
#include <gtest/gtest.h>

#include <cmath>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/text.h"
#include "triax/tasks/answer_text.h"
#include "triax/tasks/class_score.h"
#include "triax/tasks/entity_score.h"
#include "triax/tasks/squad_score.h"

namespace triax::tasks {
namespace {

const Json& stored() {
  static const Json json = Json::parse(read_file(TRIAX_TEST_DATA "/scores.json"), "scores.json");
  return json;
}

std::vector<double> numbers_of(const Json& list) {
  std::vector<double> numbers;
  for (const Json& item : list) numbers.push_back(item.number());
  return numbers;
}

TEST(EntityScore, AgreesWithConlleval) {
  const Json& cases = stored()["entities"];
  EntityScore score;
  for (const Json& pair : cases["pairs"]) score.add(split(pair[0].text(), ' '), split(pair[1].text(), ' '));
  EXPECT_EQ(score.report(), cases["report"].text());
  EXPECT_NEAR(score.total().f1(), cases["seqeval_f1"].number(), 1e-12);
}

TEST(EntityScore, RefusesOtherLengths) {
  EntityScore score;
  const std::vector<std::string> gold = {"O", "O"}, found = {"O"};
  EXPECT_THROW(score.add(gold, found), Error);
}

TEST(AnswerText, IsNormalizedAsTheScriptsDo) {
  for (const auto& [text, normalized] : stored()["normalized"].members()) EXPECT_EQ(normalize_answer(text), normalized.text()) << text;
  for (const Json& item : stored()["f1"]) {
    const std::string &gold = item[0].text(), &found = item[1].text();
    EXPECT_EQ(answer_f1(gold, found, false), item[2].number()) << gold << " | " << found;
    EXPECT_EQ(answer_f1(gold, found, true), item[3].number()) << gold << " | " << found;
  }
}

TEST(AnswerText, LoweredTextKnowsItsOrigin) {
  const LoweredText text("xİY");  // the dotted capital I becomes two characters
  EXPECT_EQ(text.text(), "xi\u0307y");
  EXPECT_EQ(text.origin(0, 1), (ByteRange{0, 1}));
  EXPECT_EQ(text.origin(1, 2), (ByteRange{1, 3}));
  EXPECT_EQ(text.origin(4, 5), (ByteRange{3, 4}));
}

Predictions predictions_of(const Json& json) {
  Predictions predictions;
  for (const auto& [id, text] : json.members()) predictions.emplace_back(id, text.text());
  return predictions;
}

TEST(SquadScore, IsThatOfTheScriptOfVersion1) {
  const Json& c = stored()["squad1"];
  const QuestionFile gold = parse_squad(c["data"].dump(), "gold.json");
  const SquadScore score = score_squad1(gold, predictions_of(c["predictions"]));
  EXPECT_NEAR(score.exact, c["score"]["exact_match"].number(), 1e-10);
  EXPECT_NEAR(score.f1, c["score"]["f1"].number(), 1e-10);
  EXPECT_EQ(score.total, 50);
  EXPECT_EQ(score.unanswered, std::vector<std::string>{"q13"});
}

TEST(SquadScore, IsThatOfTheScriptOfVersion2) {
  const Json& c = stored()["squad2"];
  const QuestionFile gold = parse_squad(c["data"].dump(), "gold.json");
  NoAnswerScores scores;
  for (const auto& [id, value] : c["no_answer"].members()) scores.emplace_back(id, value.number());
  for (const auto& [threshold, right] : c["score"].members()) {
    const SquadScore score = score_squad2(gold, predictions_of(c["predictions"]), &scores, std::stod(threshold));
    EXPECT_NEAR(score.exact, right["exact"].number(), 1e-10);
    EXPECT_NEAR(score.f1, right["f1"].number(), 1e-10);
    EXPECT_EQ(score.total, right["total"].integer());
    ASSERT_TRUE(score.has_answer && score.no_answer && score.best);
    EXPECT_NEAR(score.has_answer->exact, right["HasAns_exact"].number(), 1e-10);
    EXPECT_NEAR(score.has_answer->f1, right["HasAns_f1"].number(), 1e-10);
    EXPECT_EQ(score.has_answer->total, right["HasAns_total"].integer());
    EXPECT_NEAR(score.no_answer->f1, right["NoAns_f1"].number(), 1e-10);
    EXPECT_NEAR(score.best->exact, right["best_exact"].number(), 1e-10);
    EXPECT_EQ(score.best->exact_threshold, right["best_exact_thresh"].number());
    EXPECT_NEAR(score.best->f1, right["best_f1"].number(), 1e-10);
    EXPECT_EQ(score.best->f1_threshold, right["best_f1_thresh"].number());
  }
}

TEST(FactoidScore, CountsTheRankOfTheFirstRightCandidate) {
  const FactoidFile gold = parse_bioasq(R"({"questions": [
    {"id": "1", "body": "?", "type": "factoid", "exact_answer": ["Aspirin", "ASA"]},
    {"id": "2", "body": "?", "type": "factoid", "exact_answer": [["p53"], ["TP53"]]},
    {"id": "3", "body": "?", "type": "factoid", "exact_answer": "x"},
    {"id": "4", "body": "?", "type": "factoid", "exact_answer": "x"},
    {"id": "5", "body": "?", "type": "yesno", "exact_answer": "yes"}]})", "gold.json");
  EXPECT_EQ(gold.other_types, 1);
  const FactoidScore score = score_factoid(gold, {{"1", {" asa", "b"}}, {"2", {"a", "b", "c", "tp53"}}, {"3", {"1", "2", "3", "4", "5", "x"}}});
  EXPECT_EQ(score.total, 4);
  EXPECT_DOUBLE_EQ(score.strict, 0.25);
  EXPECT_DOUBLE_EQ(score.lenient, 0.5);
  EXPECT_DOUBLE_EQ(score.mrr, (1.0 + 0.25) / 4);
}

TEST(ClassScore, AgreesWithScikitLearn) {
  const Json& c = stored()["classes"];
  std::vector<std::string> names;
  for (const Json& name : c["names"]) names.push_back(name.text());
  ConfusionMatrix matrix((LabelSet(names)));
  for (size_t i = 0; i < c["gold"].size(); ++i) matrix.add(c["gold"][i].text(), c["found"][i].text());
  EXPECT_NEAR(matrix.accuracy(), c["accuracy"].number(), 1e-12);
  EXPECT_NEAR(matrix.macro_f1(), c["macro_f1"].number(), 1e-12);
  EXPECT_NEAR(matrix.matthews(), c["matthews"].number(), 1e-12);
  const std::vector<std::string> negative = {"a", "never"};
  const Counts micro = matrix.micro(negative);
  EXPECT_NEAR(micro.precision(), c["micro"][0].number(), 1e-12);
  EXPECT_NEAR(micro.recall(), c["micro"][1].number(), 1e-12);
  EXPECT_NEAR(micro.f1(), c["micro"][2].number(), 1e-12);
  for (size_t i = 0; i < 4; ++i) {
    const auto label = static_cast<int64_t>(i);
    for (size_t j = 0; j < 4; ++j) EXPECT_EQ(matrix.at(label, static_cast<int64_t>(j)), c["matrix"][i][j].integer());
    EXPECT_NEAR(matrix.of_class(label).f1(), c["per_class"][2][i].number(), 1e-12);
  }
  EXPECT_THROW(matrix.add("a", "d"), Error);
}

TEST(ClassScore, CorrelatesAsScipy) {
  const Json& c = stored()["numbers"];
  const std::vector<double> x = numbers_of(c["x"]), y = numbers_of(c["y"]), constant(x.size(), 1.0);
  EXPECT_NEAR(pearson(x, y), c["pearson"].number(), 1e-12);
  EXPECT_NEAR(spearman(x, y), c["spearman"].number(), 1e-12);
  EXPECT_TRUE(std::isnan(pearson(x, constant)));
}

// The published scores of two sets of predictions; the data is not part of the project.
TEST(SquadScore, GivesThePublishedNumbers) {
  const std::filesystem::path folder = std::filesystem::path(TRIAX_SOURCE_DIR) / "../shared/data/squad";
  if (!std::filesystem::exists(folder / "predictions")) GTEST_SKIP() << "needs " << folder;
  const QuestionFile gold = read_squad(folder / "dev-v1.1.json");
  const SquadScore bert = score_squad1(gold, read_predictions(folder / "predictions/bert-ensemble.json"));
  EXPECT_NEAR(bert.exact, 86.206, 5e-4);
  EXPECT_NEAR(bert.f1, 92.196, 5e-4);
  const SquadScore regression = score_squad1(gold, read_predictions(folder / "predictions/logistic-regression.json"));
  EXPECT_NEAR(regression.exact, 40.142, 5e-4);
  EXPECT_NEAR(regression.f1, 50.982, 5e-4);
}

}  // namespace
}  // namespace triax::tasks
