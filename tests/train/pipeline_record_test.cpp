#include "triax/train/pipeline_record.h"

#include <gtest/gtest.h>

#include <fstream>

#include "train/pipeline_example.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/rng.h"
#include "triax/train/report_pipeline.h"

namespace triax {
namespace {

using test::simulated_record;

constexpr ScheduleKind kAll[] = {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::interleaved_1f1b,
                                 ScheduleKind::zb_h1};

TEST(PipelineRecord, IdleShareOfASimulationIsThePublishedOne) {
  for (const ScheduleKind kind : kAll)
    for (const int p : {1, 2, 4, 8})
      for (const int m : {p, 3 * p}) {
        const int v = kind == ScheduleKind::interleaved_1f1b && p > 1 ? 2 : 1;
        const PipelineRecord record = simulated_record(kind, {p, v, m});
        const PipelineIdle idle = idle_of(record);
        ASSERT_NEAR(idle.bubble, idle.published, 1e-9) << name_of(kind) << ' ' << p << ' ' << m;
        ASSERT_EQ(idle.share.size(), static_cast<size_t>(p));
        EXPECT_NEAR(idle.begin, 100, 1e-9);
        EXPECT_NEAR(idle.times.forward, 0.010, 1e-9);
        EXPECT_NEAR(idle.times.backward_input + idle.times.backward_weight, 0.020, 1e-9);
        if (kind == ScheduleKind::zb_h1) continue;
        EXPECT_NEAR(idle.published, (p - 1.0) / (v * m + p - 1.0), 1e-9);
      }
}

TEST(PipelineRecord, MessagesAndSlowRanksAreIdleTime) {
  const PipelineIdle late =
      idle_of(simulated_record(ScheduleKind::one_f_one_b, {4, 1, 8}, {0.010, 0.012, 0.008, 0.002}));
  EXPECT_GT(late.bubble, late.published + 0.01);
  PipelineRecord record;
  record.shape = {2, 1, 1};
  record.ranks.resize(2);
  EXPECT_THROW(idle_of(record), Error);
  record.ranks[0].spans = {{ActionKind::forward, 0, 0, 1, 2},
                           {ActionKind::wait_receive, 0, 0, 2, 9},
                           {ActionKind::backward, 0, 0, 4, 5}};
  record.ranks[1].spans = {{ActionKind::forward, 0, 0, 2, 3}, {ActionKind::backward, 0, 0, 3, 4}};
  const PipelineIdle idle = idle_of(record);
  EXPECT_EQ(idle.share, (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(idle.bubble, 0.5);
}

TEST(PipelineRecord, FileHoldsAll) {
  const TemporaryDirectory folder;
  for (const ScheduleKind kind : kAll) {
    const PipelineRecord record = simulated_record(kind, {3, kind == ScheduleKind::interleaved_1f1b ? 2 : 1, 6});
    write_pipeline(folder.path() / "pipeline.json", record);
    EXPECT_EQ(read_pipeline(folder.path() / "pipeline.json"), record);
  }
}

std::string message_of(const std::filesystem::path& path) {
  try {
    read_pipeline(path);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(PipelineRecord, ErrorsNameFileAndPlace) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "p.json";
  write_pipeline(path, simulated_record(ScheduleKind::one_f_one_b, {2, 1, 2}));
  const std::string sound = read_file(path);
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string text = sound;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    write_file_atomic(path, text);
    const std::string message = message_of(path);
    EXPECT_EQ(message.rfind(path.string(), 0), 0u) << message;
    return message.substr(path.string().size());
  };
  EXPECT_EQ(with("{", ""), ": not a JSON object");
  EXPECT_EQ(with(name_of(ScheduleKind::one_f_one_b), "2f2b"), ", schedule: this should be the name of a schedule");
  EXPECT_EQ(with("\"pipeline_parallel\":2", "\"pipeline_parallel\":3"),
            ", ranks: this should be one object for each of the pipeline_parallel ranks");
  EXPECT_EQ(with("\"micro_batches\":2", "\"micro_batches\":0"),
            ", micro_batches: this should be a whole number from 1 to 1048576");
  EXPECT_EQ(with("\"virtual_pipeline\":1", "\"virtual_pipeline\":2").rfind(": schedule one_f_one_b has one chunk per rank", 0), 0u);
  EXPECT_EQ(with("\"step\":20,", ""), ": this should be an object with the key \"step\"");
  const std::string span = "[\"forward\",0,0,100.0,";
  EXPECT_EQ(with(span, "[\"forward\",5,0,100.0,"),
            ", ranks [0], spans [0] [1]: this should be a whole number from 0 to 1");
  EXPECT_EQ(with(span, "[\"forward\",0,0,200.0,"),
            ", ranks [0], spans [0]: this should be a span that ends after its start");
  EXPECT_EQ(with(span, "[\"sideward\",0,0,100.0,"),
            ", ranks [0], spans [0] [0]: this should be the name of an action, such as \"forward\"");
}

// A damaged file is read as something sound or refused with an Error.
TEST(PipelineRecord, DamageIsAnError) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "p.json";
  write_pipeline(path, simulated_record(ScheduleKind::interleaved_1f1b, {2, 2, 2}));
  const std::string sound = read_file(path);
  Philox random(7);
  int refused = 0;
  for (int i = 0; i < 600; ++i) {
    std::string text = sound;
    for (uint64_t k = 1 + random.next_below(4); k > 0; --k) {
      const size_t at = random.next_below(text.size());
      constexpr std::string_view useful = "0129.-e\"[]{},:ntf";
      if (random.next_below(3) == 0) text.erase(at, 1 + random.next_below(8));
      else text[at] = useful[random.next_below(useful.size())];
    }
    std::ofstream(path) << text;
    try {
      const PipelineRecord record = read_pipeline(path);
      EXPECT_EQ(record.ranks.size(), static_cast<size_t>(record.shape.pipeline_parallel));
      pipeline_section(record);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 200);
}

}  // namespace
}  // namespace triax
