#include "triax/train/pipeline_record.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

constexpr int kMostRanks = 1 << 16, kMostChunks = 1 << 10, kMostMicroBatches = 1 << 20;

template <typename Enum>
std::optional<Enum> named(std::string_view name, std::initializer_list<Enum> all) {
  for (const Enum one : all)
    if (name == name_of(one)) return one;
  return std::nullopt;
}

std::optional<ScheduleKind> schedule_named(std::string_view name) {
  return named(name, {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::interleaved_1f1b,
                      ScheduleKind::zb_h1});
}

std::optional<ActionKind> action_named(std::string_view name) {
  return named(name, {ActionKind::forward, ActionKind::backward, ActionKind::backward_input,
                      ActionKind::backward_weight, ActionKind::start_send, ActionKind::wait_send,
                      ActionKind::start_receive, ActionKind::wait_receive});
}

bool computes(ActionKind kind) { return kind < ActionKind::start_send; }

// ---- writing ----

Json spans_json(std::span<const PipelineSpan> spans) {
  Json rows = Json::array();
  for (const PipelineSpan& span : spans)
    rows.push_back(Json::array({name_of(span.kind), span.micro_batch, span.chunk, span.start, span.end}));
  return rows;
}

Json rank_json(const PipelineRank& rank) {
  Json communication = Json::array();
  for (const VolumeRow& row : rank.communication)
    communication.push_back({{"group", row.group},
                             {"calls", row.calls},
                             {"bytes", row.bytes},
                             {"formula_bytes", row.formula_bytes}});
  return {{"rank", rank.rank},
          {"predicted_bytes", rank.predicted_bytes},
          {"measured_bytes", rank.measured_bytes},
          {"communication", communication},
          {"spans", spans_json(rank.spans)}};
}

// ---- reading ----

// A JSON value and where in which file it stands, for errors.
class Node {
 public:
  Node(const Json& json, std::string place) : json_(json), place_(std::move(place)) {}

  Node operator[](const char* key) const {
    require(json_.is_object() && json_.contains(key), fmt::format("an object with the key \"{}\"", key));
    return {json_[key], fmt::format("{}, {}", place_, key)};
  }
  std::vector<Node> list() const {
    require(json_.is_array(), "a list");
    std::vector<Node> nodes;
    for (const Json& item : json_) nodes.emplace_back(item, fmt::format("{} [{}]", place_, nodes.size()));
    return nodes;
  }
  std::string text() const {
    require(json_.is_text(), "a text");
    return json_.text();
  }
  double number() const {
    require(json_.is_number() && std::isfinite(json_.number()), "a number");
    return json_.number();
  }
  int64_t integer(int64_t least, int64_t most) const {
    require(json_.is_integer() && json_.integer() >= least && json_.integer() <= most,
            fmt::format("a whole number from {} to {}", least, most));
    return json_.integer();
  }
  int small(int least, int most) const { return static_cast<int>(integer(least, most)); }
  void require(bool condition, const std::string& wanted) const {
    check(condition, "{}: this should be {}", place_, wanted);
  }

 private:
  const Json& json_;
  std::string place_;
};

constexpr PipelineShape kAnyShape = {kMostRanks, kMostChunks, kMostMicroBatches};
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

PipelineSpan read_span(const Node& node, const PipelineShape& shape) {
  const std::vector<Node> fields = node.list();
  node.require(fields.size() == 5, "[kind, micro-batch, chunk, start, end]");
  const std::optional<ActionKind> kind = action_named(fields[0].text());
  fields[0].require(kind.has_value(), "the name of an action, such as \"forward\"");
  const PipelineSpan span{*kind, fields[1].small(0, shape.micro_batches - 1), fields[2].small(0, shape.virtual_pipeline - 1),
                          fields[3].number(), fields[4].number()};
  node.require(span.start <= span.end, "a span that ends after its start");
  return span;
}

PipelineRank read_rank(const Node& node, const PipelineShape& shape) {
  PipelineRank rank;
  rank.rank = node["rank"].small(0, std::numeric_limits<int>::max());
  rank.predicted_bytes = static_cast<uint64_t>(node["predicted_bytes"].integer(0, kMost));
  rank.measured_bytes = static_cast<uint64_t>(node["measured_bytes"].integer(0, kMost));
  for (const Node& row : node["communication"].list())
    rank.communication.push_back(
        {row["group"].text(), row["calls"].integer(0, kMost), row["bytes"].number(), row["formula_bytes"].number()});
  for (const Node& span : node["spans"].list()) rank.spans.push_back(read_span(span, shape));
  return rank;
}

}  // namespace

std::vector<PipelineSpan> pipeline_spans(std::span<const ActionSpan> actions) {
  std::vector<PipelineSpan> spans;
  for (const ActionSpan& each : actions) {
    const Action& action = each.action;
    if (action.kind == ActionKind::start_send || action.kind == ActionKind::start_receive) continue;
    spans.push_back({action.kind, action.micro_batch, action.chunk, each.start, each.end});
  }
  return spans;
}

void add_computations(Trace& trace, std::span<const ActionSpan> actions) {
  constexpr TraceCategory categories[] = {TraceCategory::forward, TraceCategory::backward,
                                          TraceCategory::backward_input, TraceCategory::backward_weight};
  for (const ActionSpan& each : actions)
    if (computes(each.action.kind))
      trace.add({.category = categories[static_cast<size_t>(each.action.kind)], .start = each.start, .end = each.end,
                 .micro_batch = each.action.micro_batch, .chunk = each.action.chunk});
}

std::vector<PipelineRank> gather_pipeline(Communicator& pipeline, PipelineRank mine, double clock_offset) {
  for (PipelineSpan& span : mine.spans) span.start += clock_offset, span.end += clock_offset;
  std::string text = rank_json(mine).dump();
  auto length = static_cast<int64_t>(text.size());
  pipeline.all_reduce({&length, {1}, DType::i64}, ReduceOp::max);
  text.resize(static_cast<size_t>(length), ' ');  // which JSON ignores
  std::string all(text.size() * static_cast<size_t>(pipeline.size()), ' ');
  pipeline.all_gather({text.data(), {length}, DType::u8}, {all.data(), {static_cast<int64_t>(all.size())}, DType::u8});
  std::vector<PipelineRank> ranks;
  for (size_t at = 0; at < all.size(); at += text.size()) {
    const Json json = Json::parse(std::string_view(all).substr(at, text.size()), "a stage of the pipeline");
    ranks.push_back(read_rank(Node(json, fmt::format("stage {} of the pipeline", ranks.size())), kAnyShape));
  }
  return ranks;
}

PipelineIdle idle_of(const PipelineRecord& record) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  PipelineIdle idle;
  idle.begin = infinity, idle.end = -infinity;
  std::vector<double> busy;
  std::array<double, 4> sum{}, count{};  // by kind of computation
  for (const PipelineRank& rank : record.ranks) {
    busy.push_back(0);
    for (const PipelineSpan& span : rank.spans) {
      if (!computes(span.kind)) continue;
      idle.begin = std::min(idle.begin, span.start);
      idle.end = std::max(idle.end, span.end);
      busy.back() += span.end - span.start;
      sum[static_cast<size_t>(span.kind)] += span.end - span.start;
      ++count[static_cast<size_t>(span.kind)];
    }
  }
  const bool worked = idle.seconds() < 1e9 && std::any_of(sum.begin(), sum.end(), [](double s) { return s > 0; });
  check(worked, "the record of step {} holds no computation that took time", record.step);
  for (const double seconds : busy) {
    idle.share.push_back(1 - seconds / idle.seconds());
    idle.bubble += idle.share.back() / static_cast<double>(busy.size());
  }
  const auto mean = [&](ActionKind kind) {
    const auto i = static_cast<size_t>(kind);
    return count[i] > 0 ? sum[i] / count[i] : 0;
  };
  idle.times = {mean(ActionKind::forward), mean(ActionKind::backward) + mean(ActionKind::backward_input),
                mean(ActionKind::backward_weight), 0};
  const double ratio = published_bubble_fraction(record.schedule, record.shape, idle.times);
  idle.published = ratio / (1 + ratio);
  return idle;
}

std::string published_formula(const PipelineRecord& record) {
  if (record.schedule == ScheduleKind::zb_h1) {
    return record.shape.micro_batches >= record.shape.pipeline_parallel
               ? "(p-1)(T_F+T_B-T_W) / (m(T_F+T_B+T_W) + (p-1)(T_F+T_B-T_W))"
               : "((p-1)(T_F+T_B) - (m-1)T_W) / ((m+p-1)(T_F+T_B) + T_W)";
  }
  return record.shape.virtual_pipeline > 1 ? "(p-1)/(v m + p-1)" : "(p-1)/(m + p-1)";
}

void write_pipeline(const fs::path& path, const PipelineRecord& record) {
  Json ranks = Json::array();
  for (const PipelineRank& rank : record.ranks) ranks.push_back(rank_json(rank));
  const Json object = {{"schedule", name_of(record.schedule)},
                       {"pipeline_parallel", record.shape.pipeline_parallel},
                       {"virtual_pipeline", record.shape.virtual_pipeline},
                       {"micro_batches", record.shape.micro_batches},
                       {"tensor_parallel", record.tensor_parallel},
                       {"data_parallel", record.data_parallel},
                       {"step", record.step},
                       {"step_seconds", record.step_seconds},
                       {"ranks", ranks}};
  write_file_atomic(path, object.dump() + '\n');
}

PipelineRecord read_pipeline(const fs::path& path) {
  const Json json = Json::parse_or_null(read_file(path));
  check(json.is_object(), "{}: not a JSON object", path.string());
  const Node node(json, path.string());
  PipelineRecord record;
  const std::optional<ScheduleKind> schedule = schedule_named(node["schedule"].text());
  node["schedule"].require(schedule.has_value(), "the name of a schedule");
  record.schedule = *schedule;
  record.shape = {node["pipeline_parallel"].small(1, kMostRanks), node["virtual_pipeline"].small(1, kMostChunks),
                  node["micro_batches"].small(1, kMostMicroBatches)};
  try {
    validate(record.schedule, record.shape);
  } catch (const Error& error) {
    fail("{}: {}", path.string(), error.what());
  }
  record.tensor_parallel = node["tensor_parallel"].small(1, kMostRanks);
  record.data_parallel = node["data_parallel"].small(1, kMostRanks);
  record.step = node["step"].integer(0, kMost);
  record.step_seconds = node["step_seconds"].number();
  const std::vector<Node> ranks = node["ranks"].list();
  node["ranks"].require(ranks.size() == static_cast<size_t>(record.shape.pipeline_parallel),
                        "one object for each of the pipeline_parallel ranks");
  for (const Node& rank : ranks) record.ranks.push_back(read_rank(rank, record.shape));
  return record;
}

}  // namespace triax
