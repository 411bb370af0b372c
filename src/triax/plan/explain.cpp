// Why a plan, in words: it is held against its neighbours, one change at a time.
#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/plan/search.h"

namespace triax {
namespace {

// The same plan with one thing changed; nothing if that cannot be run.
std::optional<Candidate> changed(const Candidate& from, const Hardware& hardware, const std::function<void(StepPlan&)>& change) {
  StepPlan plan = from.plan;
  change(plan);
  if (plan.devices() != from.plan.devices()) return std::nullopt;
  try {
    return evaluate(plan, hardware, Detail::fast);
  } catch (const Error&) {
    return std::nullopt;
  }
}

struct Costs {
  const char* what;
  double seconds;
};
// Where the mean rank's time goes.
std::vector<Costs> costs(const Candidate& c) {
  TimeParts sum;
  for (const TimeParts& rank : c.step.busy) sum += rank;
  const double p = static_cast<double>(c.step.busy.size());
  return {{"matrix products", sum.gemm / p},
          {"norms, dropout, softmax and other memory-bound work", sum.memory / p},
          {"exchanges between tensor ranks", sum.tensor / p},
          {"messages between stages", sum.pipeline / p},
          {"idle pipeline ranks", c.step.bubble * c.step.pipeline_seconds},
          {"the exchange of gradients", c.step.data_seconds},
          {"the optimizer", c.step.optimizer_seconds}};
}

// "+8.1 %: idle pipeline ranks take 1.2 s more" or "would not fit: 92 GiB".
std::string verdict(const Candidate& chosen, const Candidate& other, const Hardware& hardware) {
  if (other.memory_bytes > hardware.device.memory_bytes)
    return fmt::format("would not fit: {} of {}", format_bytes(other.memory_bytes), format_bytes(hardware.device.memory_bytes));
  const double ratio = other.step.seconds / chosen.step.seconds - 1;
  if (std::fabs(ratio) < 0.0005)
    return fmt::format("is as fast, with {} instead of {}", format_bytes(other.memory_bytes), format_bytes(chosen.memory_bytes));
  const std::vector<Costs> before = costs(chosen), after = costs(other);
  size_t most = 0;
  const double sign = ratio > 0 ? 1 : -1;
  for (size_t i = 1; i < before.size(); ++i)
    if (sign * (after[i].seconds - before[i].seconds) > sign * (after[most].seconds - before[most].seconds)) most = i;
  const double more = after[most].seconds - before[most].seconds;
  return fmt::format("would be {:.1f} % {}: {} take{} {:.3g} s {}", 100 * std::fabs(ratio), ratio > 0 ? "slower" : "faster",
                     before[most].what, most == 5 || most == 6 ? "s" : "", std::fabs(more), more > 0 ? "more" : "less");
}

struct Neighbour {
  std::string name;
  std::function<void(StepPlan&)> change;
};

// The divisors of n next to x.
std::vector<int64_t> near_divisors(int64_t n, int64_t x) {
  std::vector<int64_t> result;
  for (const int64_t step : {-1, 1}) {
    int64_t y = x + step;
    while (y >= 1 && y <= n && n % y != 0) y += step;
    if (y >= 1 && y <= n) result.push_back(y);
  }
  return result;
}

std::vector<Neighbour> neighbours(const StepPlan& plan) {
  std::vector<Neighbour> list;
  const auto add = [&](std::string name, std::function<void(StepPlan&)> change) { list.push_back({std::move(name), std::move(change)}); };
  const auto one_chunk = [](StepPlan& p) { p.virtual_pipeline = 1, p.stage_layers.clear(); };
  add(fmt::format("half as much tensor parallelism (t = {}), twice the stages", plan.tensor_parallel / 2), [=](StepPlan& p) {
    p.tensor_parallel /= 2, p.pipeline_parallel *= 2, one_chunk(p), p.sequence_parallel = p.sequence_parallel && p.tensor_parallel > 1;
  });
  add(fmt::format("half as much tensor parallelism (t = {}), twice the data parallelism", plan.tensor_parallel / 2), [](StepPlan& p) {
    p.tensor_parallel /= 2, p.data_parallel *= 2, p.sequence_parallel = p.sequence_parallel && p.tensor_parallel > 1;
  });
  add(fmt::format("more tensor parallelism (t = {}), half the data parallelism", plan.tensor_parallel * 2),
      [](StepPlan& p) { p.tensor_parallel *= 2, p.data_parallel /= 2; });
  for (const int64_t p : near_divisors(plan.pipeline_parallel * plan.data_parallel, plan.pipeline_parallel))
    add(fmt::format("{} stages (p = {}), {} data parallelism", p < plan.pipeline_parallel ? "fewer" : "more", p,
                    p < plan.pipeline_parallel ? "more" : "less"),
        [=](StepPlan& other) {
          other.data_parallel = plan.pipeline_parallel * plan.data_parallel / p, other.pipeline_parallel = p;
          one_chunk(other);
        });
  add(fmt::format("micro-batches of {}", plan.micro_batch_size * 2), [](StepPlan& p) { p.micro_batch_size *= 2; });
  if (plan.micro_batch_size > 1)
    add(fmt::format("micro-batches of {}", plan.micro_batch_size / 2), [](StepPlan& p) { p.micro_batch_size /= 2; });
  if (plan.virtual_pipeline > 1) add("no interleaving (v = 1)", one_chunk);
  if (plan.pipeline_parallel > 1)
    add(fmt::format("v = {} chunks a rank", plan.virtual_pipeline * 2),
        [](StepPlan& p) { p.virtual_pipeline *= 2, p.schedule = ScheduleKind::interleaved_1f1b, p.stage_layers.clear(); });
  if (splits_backward(plan.schedule)) add("1F1B", [](StepPlan& p) { p.schedule = ScheduleKind::interleaved_1f1b; });
  if (plan.sequence_parallel) add("no sequence parallelism", [](StepPlan& p) { p.sequence_parallel = false; });
  constexpr const char* kRecompute[] = {"no recomputation", "selective recomputation", "full recomputation"};
  for (int r = 0; r < 3; ++r)
    if (static_cast<int>(plan.recompute) != r) add(kRecompute[r], [=](StepPlan& p) { p.recompute = static_cast<Recomputation>(r); });
  if (plan.zero_stage > 0) add("no ZeRO", [](StepPlan& p) { p.zero_stage = 0; });
  if (plan.zero_stage == 0 && plan.data_parallel > 1) add("ZeRO 1", [](StepPlan& p) { p.zero_stage = 1; });
  return list;
}

}  // namespace

std::vector<std::string> explain(const Candidate& chosen, const Hardware& hardware) {
  std::vector<std::string> sentences;
  for (const Neighbour& neighbour : neighbours(chosen.plan)) {
    const std::optional<Candidate> other = changed(chosen, hardware, neighbour.change);
    if (other) sentences.push_back(neighbour.name + " " + verdict(chosen, *other, hardware));
  }
  return sentences;
}

std::vector<std::string> remedies(const Candidate& candidate, const Hardware& hardware) {
  struct Change {
    std::string text;
    double bytes;
  };
  std::vector<Change> changes;
  for (const Neighbour& neighbour : neighbours(candidate.plan)) {
    const std::optional<Candidate> other = changed(candidate, hardware, neighbour.change);
    if (!other || other->memory_bytes >= 0.99 * candidate.memory_bytes) continue;
    const bool fits = other->memory_bytes <= hardware.device.memory_bytes;
    changes.push_back({fmt::format("{}: {}{}, {:+.1f} % time", neighbour.name, format_bytes(other->memory_bytes), fits ? ", fits" : "",
                                   100 * (other->step.seconds / candidate.step.seconds - 1)),
                       other->memory_bytes});
  }
  std::sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) { return a.bytes < b.bytes; });
  std::vector<std::string> result;
  for (const Change& change : changes) result.push_back(change.text);
  return result;
}

}  // namespace triax
