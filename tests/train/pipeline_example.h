// A PipelineRecord made by the simulator, for tests.
#pragma once

#include <string>

#include "triax/train/pipeline_record.h"

namespace triax::test {

// One step of the schedule, with computations and waits as spans.
inline PipelineRecord simulated_record(ScheduleKind kind, const PipelineShape& shape,
                                       const ActionTimes& times = {0.010, 0.012, 0.008, 0}) {
  const auto lists = schedules(kind, shape);
  const Simulation simulation = simulate(lists, shape, times);
  PipelineRecord record{.schedule = kind, .shape = shape, .tensor_parallel = 2, .data_parallel = 3, .step = 20,
                        .step_seconds = simulation.makespan * 1.05};
  for (size_t r = 0; r < lists.size(); ++r) {
    PipelineRank rank{.rank = static_cast<int>(6 * r), .predicted_bytes = (100 + r) << 20,
                      .measured_bytes = (101 + r) << 20};
    for (size_t i = 0; i < lists[r].size(); ++i) {
      const Action& action = lists[r][i];
      const auto& span = simulation.spans[r][i];
      if (action.kind == ActionKind::start_send || action.kind == ActionKind::start_receive) continue;
      rank.spans.push_back({action.kind, action.micro_batch, action.chunk, 100 + span.start, 100 + span.end});
    }
    rank.communication = {{"tensor", 40 + static_cast<int64_t>(r), 4.2e6, 4.1e6}, {"world", 1, 8, 0}};
    record.ranks.push_back(rank);
  }
  return record;
}

}  // namespace triax::test
