// What a set of schedule lists does, without running a model: proof that they are right, time, idle
// time and activations in flight. Nothing here knows how the lists were made.
//
// All functions take one list per rank of the pipeline and the shape the lists were made for.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "triax/pipeline/schedule.h"

namespace triax {

using ActionLists = std::span<const std::vector<Action>>;

// Throws Error naming rank, action and fault unless
//   - every stage does every micro-batch forward once, after the stage before it, and (unless
//     `forward_only`) backward once, whole or in its two parts, after the stage behind it;
//   - every message has one start and one wait on both sides, in the same order on a channel, with the
//     same tag; what is sent was computed before, what is received is waited for before it is used; no
//     two messages of a channel that are in flight together have the same tag;
//   - at most kSendBuffers sends of a channel are in flight;
//   - the lists run to their end even when no message moves before both sides have started it.
void verify(ActionLists lists, const PipelineShape& shape, bool forward_only = false);

// Most micro-batch chunks whose forward is done (or under way) and whose input gradient is not, at any
// moment on this rank. The stash of one chunk is 1 / v of the rank's layers.
int peak_in_flight(std::span<const Action> list);
// The same with weights: `stash` per micro-batch chunk from its forward to its input gradient, and
// `weight_stash` from there to its weight gradient (M_B and M_W of Qi et al. 2023).
double peak_stash(std::span<const Action> list, double stash, double weight_stash);

// Seconds (or any unit) for one micro-batch through one chunk.
struct ActionTimes {
  double forward = 1;          // T_F
  double backward_input = 1;   // T_B
  double backward_weight = 1;  // T_W; a whole backward takes T_B + T_W
  double communication = 0;    // of one message between neighbours
};

struct TimeSpan {
  double start = 0, end = 0;
};

struct Simulation {
  double makespan = 0;
  std::vector<double> busy;              // computing, per rank
  std::vector<std::vector<TimeSpan>> spans;  // when each action ran; like the lists
  double idle(int rank) const { return makespan - busy[static_cast<size_t>(rank)]; }
  // Idle share of all ranks' time.
  double bubble() const;
};

// Executes the lists. A message moves when both sides have started it and the one before it on its
// channel has moved; starting and waiting take no time themselves. `duration` is asked for the time of
// every computation, and of every message with its start_send. Throws Error telling who waits for
// whom if the lists cannot run to their end.
Simulation simulate(ActionLists lists, const PipelineShape& shape,
                    const std::function<double(int rank, const Action&)>& duration);
Simulation simulate(ActionLists lists, const PipelineShape& shape, const ActionTimes& times);
// The same on shared cores or memory: while k ranks compute, each takes slowdown(k) times its duration.
Simulation simulate(ActionLists lists, const PipelineShape& shape,
                    const std::function<double(int rank, const Action&)>& duration,
                    const std::function<double(int computing)>& slowdown);

// The longest time on one rank from its first computation to its last: what a step takes when every rank begins the
// next step as soon as it is done with this one (steps_interlock()).
double longest_rank(ActionLists lists, const Simulation& simulation);

// The published idle time of a rank in one step, communication ignored, in the unit of `times`:
// (p - 1)(T_F + T_B + T_W), or for ZB-H1 (p - 1)(T_F + T_B - T_W) when m >= p, or for ZB-H2
// (p - 1)(T_F + T_B - 2 T_W) when m >= 2 p - 1, of steps that interlock. With v chunks `times` are of one chunk,
// which makes it the (p - 1)(t_f + t_b) / v of Narayanan et al. 2021, section 2.2.2.
double published_bubble(ScheduleKind kind, const PipelineShape& shape, const ActionTimes& times);
// The same over the time of the computations: (p - 1) / m, (p - 1) / (v m).
double published_bubble_fraction(ScheduleKind kind, const PipelineShape& shape, const ActionTimes& times);

}  // namespace triax
