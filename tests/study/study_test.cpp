// The plan of a study, its execution by a stand-in for triax, and its table.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/study/run.h"
#include "triax/study/table.h"

namespace triax::study {
namespace {

namespace fs = std::filesystem;

class Study : public testing::Test {
 protected:
  Study() {
    for (const char* file : {"general.txt", "bio.txt", "ner.toml", "re.toml", "pretrain.toml"}) write_file_atomic(at(file), std::string(file) + "\n");
    fs::create_directories(at("bert"));
    write_file_atomic(at("bert/config.json"), R"({"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2})");
    config_.factors.corpora = {"general=" + at("general.txt"), "bio=" + at("bio.txt")};
    config_.factors.vocabularies = {"general=general:1000", "bio=bio:1000"};
    config_.factors.sizes = {"tiny=2x64x2"};
    config_.factors.tasks = {"chem=ner:" + at("ner.toml"), "chemprot=relation:" + at("re.toml")};
    config_.factors.seeds = {1, 2};
    config_.pretrain.config = at("pretrain.toml");
    config_.output.dir = at("study");
  }

  std::string at(const std::string& name) const { return (folder_.path() / name).string(); }

  static int64_t count(const StudyPlan& plan, const std::string& kind) {
    return std::count_if(plan.stages.begin(), plan.stages.end(), [&](const Stage& s) { return s.kind == kind; });
  }
  static const Stage& stage(const StudyPlan& plan, const std::string& name) {
    for (const Stage& s : plan.stages)
      if (s.name == name) return s;
    fail("no stage {}", name);
  }
  static bool says(const Stage& stage, const std::string& argument) {
    return std::find(stage.arguments.begin(), stage.arguments.end(), argument) != stage.arguments.end();
  }
  std::string error() const {
    try {
      plan_study(config_);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

  // A stand-in for triax: notes what it was asked, and writes the scores of tasks, better for "bio".
  std::string stand_in() const {
    const std::string path = at("triax");
    write_file_atomic(path, R"(#!/bin/sh
echo "$@" >> )" + at("calls") + R"(
[ -e )" + at("broken") + R"( ] && [ "$1" = train ] && { echo "error: no data"; exit 1; }
[ "$1" = finetune ] || exit 0
for argument in "$@"; do case "$argument" in output.dir=*) dir="${argument#output.dir=}";; esac; done
case "$dir" in *finetune/bio-bio*) score=80;; *) score=60;; esac
mkdir -p "$dir"
numbers="{\"numbers\": {\"precision\": 70, \"recall\": 50, \"F1\": $score}}"
echo "{\"metric\": \"F1\", \"test\": {\"mean\": $score, \"deviation\": 1.5}, \"runs\": [{\"test\": $numbers}, {\"test\": $numbers}]}" > "$dir/results.json"
)");
    fs::permissions(path, fs::perms::owner_all);
    return path;
  }
  size_t calls() const {
    const std::string text = fs::exists(at("calls")) ? read_file(at("calls")) : "";
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  TemporaryDirectory folder_;
  StudyConfig config_;
};

TEST_F(Study, SharesWhatCellsHaveInCommon) {
  const StudyPlan plan = plan_study(config_);
  EXPECT_EQ(plan.cells.size(), 4u);
  EXPECT_EQ(count(plan, "vocabulary"), 2);
  EXPECT_EQ(count(plan, "pack"), 4);
  EXPECT_EQ(count(plan, "pretrain"), 4);
  EXPECT_EQ(count(plan, "convert"), 4);
  EXPECT_EQ(count(plan, "finetune"), 8);
  const Stage& pretrain = stage(plan, "pretrain bio general tiny scratch");
  for (const char* set : {"model.kind=bert", "model.num_layers=2", "model.hidden_size=64", "model.num_heads=2"}) EXPECT_TRUE(says(pretrain, set)) << set;
  EXPECT_TRUE(says(stage(plan, "finetune chem bio bio tiny scratch"), "train.seeds=[1, 2]"));
  // Every stage stands behind those it needs.
  std::vector<std::string> seen;
  for (const Stage& s : plan.stages) {
    for (const std::string& need : s.needs) EXPECT_NE(std::find(seen.begin(), seen.end(), need), seen.end()) << s.name << " before " << need;
    seen.push_back(s.name);
  }
}

TEST_F(Study, StartsFromOtherModels) {
  config_.factors.starts = {"scratch", "wide=general", "given=" + at("bert")};
  config_.factors.corpora.emplace_back("none");
  const StudyPlan plan = plan_study(config_);
  // General with the first vocabulary is a cell of its own, and what the others begin from.
  EXPECT_TRUE(says(stage(plan, "pretrain general bio tiny wide"), "checkpoint.load=" + at("study/pretrain/general-general-tiny-scratch")));
  // Another vocabulary is transferred first.
  const Stage& transfer = stage(plan, "transfer wide tiny bio");
  EXPECT_TRUE(says(transfer, at("study/hf/general-general-tiny-scratch")));
  EXPECT_TRUE(says(stage(plan, "pretrain bio bio tiny wide"), "checkpoint.load=" + at("study/triax/wide-tiny-bio")));
  EXPECT_TRUE(says(stage(plan, "transfer given tiny bio"), at("bert")));
  // Without pretraining the start itself is tuned.
  EXPECT_TRUE(says(stage(plan, "finetune chem bio none tiny given"), "model.path=" + at("study/transferred/given-tiny-bio")));
  EXPECT_EQ(plan.notes.size(), 4u);  // of each vocabulary: nothing from scratch, and general twice
  config_.factors.sizes = {"small=4x64x2"};
  config_.factors.starts = {"given=" + at("bert")};
  EXPECT_NE(error().find("the start has another size"), std::string::npos);
}

TEST_F(Study, RunsOnceAndGoesOn) {
  const std::string program = stand_in();
  const StudyPlan plan = plan_study(config_);
  const fs::path dir = config_.output.dir;
  write_file_atomic(at("broken"), "");
  try {
    run_study(plan, dir, program);
    FAIL() << "a stage failed, and nothing was said";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("pretrain general general tiny scratch failed"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("error: no data"), std::string::npos) << e.what();
  }
  EXPECT_EQ(calls(), 3u);  // vocabulary, pack, and what failed
  fs::remove(at("broken"));
  run_study(plan, dir, program);
  EXPECT_EQ(calls(), 2u + 1u + plan.stages.size() - 2u);
  run_study(plan, dir, program);  // everything is done
  EXPECT_EQ(calls(), plan.stages.size() + 1);
  // A task's configuration that changed: that task is done again for all models, and nothing else.
  write_file_atomic(at("ner.toml"), "changed\n");
  const auto states = states_of(plan, dir);
  EXPECT_EQ(std::count(states.begin(), states.end(), StageState::changed), 4);
  run_study(plan, dir, program);
  EXPECT_EQ(calls(), plan.stages.size() + 1 + 4);
  // So does what comes behind a changed corpus.
  write_file_atomic(at("bio.txt"), "more text\n");
  const auto later = states_of(plan, dir);
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const bool of_bio = plan.stages[i].name.find("bio") != std::string::npos;
    EXPECT_EQ(later[i] == StageState::changed, of_bio) << plan.stages[i].name;
  }
}

TEST_F(Study, PrintsThePapersTable) {
  const StudyPlan plan = plan_study(config_);
  const auto nothing = read_rows(plan);
  EXPECT_NE(text_table(nothing).find('-'), std::string::npos);
  run_study(plan, config_.output.dir, stand_in());
  const auto rows = read_rows(plan);
  const std::string table = text_table(rows), effects = text_effects(rows);
  EXPECT_NE(table.find("chem, P/R/F1"), std::string::npos) << table;
  EXPECT_NE(table.find("70.0/50.0/80.0 ± 1.5 *"), std::string::npos) << table;
  EXPECT_NE(effects.find("vocabulary  bio      70.0 (of 2)"), std::string::npos) << effects;
  EXPECT_EQ(effects.find("size"), std::string::npos);  // a single level
  const Json json = Json::parse(study_json(rows), "study.json");
  EXPECT_EQ(json.size(), 4u);
  EXPECT_EQ(json[size_t{3}].at("tasks").at("chem").at("mean").number(), 80);
  const std::string page = study_page(rows, plan, config_);
  for (const char* part : {"What each factor does", "finetune/bio-bio-tiny-scratch/chem/report.html", "<b>70.0/50.0/80.0"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
}

TEST_F(Study, NamesMistakes) {
  const StudyConfig good = config_;
  const auto expect = [&](const char* message) {
    EXPECT_NE(error().find(message), std::string::npos) << error();
    config_ = good;
  };
  config_.factors.sizes = {"tiny=2x64"};
  expect("factors.sizes: \"2x64\" is not layers x hidden x heads");
  config_.factors.vocabularies = {"web=web:1000"};
  expect("factors.vocabularies: \"web\" is none of general, bio");
  config_.factors.tasks = {"chem=ner"};
  expect("is not name=kind:file");
  config_.factors.tasks = {"chem=nre:" + at("ner.toml")};
  expect("\"nre\" is not a task");
  config_.factors.corpora = {"bio=" + at("nothing.txt")};
  expect("there is no");
  config_.factors.starts = {"no such"};
  expect("does not begin with a name");
  config_.factors.starts = {"here=nowhere"};
  expect("neither \"scratch\", nor a corpus, nor a folder");
  config_.factors.corpora.emplace_back("bio=again");
  expect("two levels \"bio\"");
}

}  // namespace
}  // namespace triax::study
