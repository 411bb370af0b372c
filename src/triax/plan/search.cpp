#include "triax/plan/search.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/plan/layer_cost.h"

namespace triax {
namespace {

std::vector<int64_t> divisors(int64_t n) {
  std::vector<int64_t> result;
  for (int64_t i = 1; i <= n; ++i)
    if (n % i == 0) result.push_back(i);
  return result;
}

struct Estimate {
  StepPlan plan;
  double seconds = 0, memory = 0;
};

// What is computed once for many candidates: they differ in the grid around a layer, not in the layer.
class LayerTable {
 public:
  explicit LayerTable(const Hardware& hardware) : hardware_(hardware) {}
  struct Entry {
    TimeParts forward, backward;  // with recomputation
    double recompute = 0, head = 0;
  };
  const Entry& at(const StepPlan& plan) {
    const auto key = std::tuple(plan.tensor_parallel, plan.micro_batch_size, plan.recompute, plan.sequence_parallel, plan.schedule);
    const auto found = entries_.find(key);
    if (found != entries_.end()) return found->second;
    const LayerTimes t = layer_times(plan, hardware_);
    Entry entry{t.forward, t.recompute, t.recompute.total(), 0};
    entry.backward += t.backward_input;
    entry.backward += t.backward_weight;
    const ChunkTimes head = head_times(cost_shape(plan, hardware_));
    entry.head = head.forward.total() + head.backward_input.total() + head.backward_weight.total();
    return entries_[key] = entry;
  }

 private:
  const Hardware& hardware_;
  std::map<std::tuple<int64_t, int64_t, Recomputation, bool, ScheduleKind>, Entry> entries_;
};

// Micro-batch chunks between forward and backward on the first rank.
double in_flight(const StepPlan& plan) {
  const auto p = static_cast<double>(plan.pipeline_parallel), v = static_cast<double>(plan.virtual_pipeline);
  const auto m = static_cast<double>(plan.micro_batches());
  if (plan.schedule == ScheduleKind::gpipe) return m * v;
  if (plan.schedule == ScheduleKind::zb_h2) return std::min(m, 2 * p - 1);
  return v > 1 ? std::min(m * v, 2 * (p - 1) + (v - 1) * p + 1) : std::min(m, p);
}

// Of the first rank, which keeps most activations, and of the last, which has the logits: closed forms of what
// predict_memory() finds in the schedules.
double estimated_memory(const StepPlan& plan, const Hardware& hardware) {
  const CostShape c = cost_shape(plan, hardware);
  const auto p = static_cast<double>(plan.pipeline_parallel), v = static_cast<double>(plan.virtual_pipeline);
  const auto d = static_cast<double>(plan.data_parallel);
  const auto gradient = static_cast<double>(hardware.software.gradient_bytes);
  const double layers = static_cast<double>(plan.model.num_layers) / (p * v);
  const double flight = in_flight(plan);
  const LayerShape layer{c.s, c.b, c.h, c.a, c.t};
  const double weights = parameters_of_rank(plan, 0);
  double bytes = weights * (2 / (plan.zero_stage >= 3 ? d : 1) + gradient / (plan.zero_stage >= 2 ? d : 1) +
                            (12 + (gradient < 4 ? 4 : 0)) / (plan.zero_stage >= 1 ? d : 1));
  double activations = flight * layers * layer_activation_bytes(layer, plan.recompute, c.sequence_parallel);
  const double whole = layer_activation_bytes(layer, Recomputation::none, c.sequence_parallel);
  if (plan.recompute == Recomputation::full) activations += whole;
  if (plan.keep_micro_batches > 0)
    activations += std::min(static_cast<double>(plan.keep_micro_batches) * v, flight) * layers *
                   (whole - layer_activation_bytes(layer, plan.recompute, c.sequence_parallel));
  if (p == 1) activations += 6 * c.n * c.vocabulary / c.t;
  return bytes + activations * (1 + hardware.device.fragmentation) + hardware.device.reserved_bytes;
}

double estimated_seconds(const StepPlan& plan, const Hardware& hardware, LayerTable& table) {
  const LayerTable::Entry& layer = table.at(plan);
  const auto p = static_cast<double>(plan.pipeline_parallel), v = static_cast<double>(plan.virtual_pipeline);
  const auto m = static_cast<double>(plan.micro_batches());
  const double layers = std::ceil(static_cast<double>(plan.model.num_layers) / (p * v)) * v;
  const double weights = parameters_of_rank(plan, 0);
  double message = 0;
  if (p > 1 && !hardware.software.overlap_pipeline) {
    const CostShape c = cost_shape(plan, hardware);
    message = 2 * v * message_seconds(hardware, 2 * c.n * c.h / c.t, false, hardware.node.devices);
  }
  const double kept = std::min(1.0, static_cast<double>(plan.keep_micro_batches) * v / in_flight(plan));
  double each = layers * (layer.forward.total() + layer.backward.total() - kept * layer.recompute) + message;
  if (!hardware.software.fused_gradient_accumulation && m > 1)
    each += memory_seconds(hardware.device, weights * (2 + 2 * static_cast<double>(hardware.software.gradient_bytes)));
  const double slowest = each + layer.head;
  double bubble = (p - 1) / v * each;
  if (splits_backward(plan.schedule)) bubble /= plan.schedule == ScheduleKind::zb_h2 ? 8 : 2;
  const GroupPlace place{plan.data_parallel, std::clamp<int64_t>(hardware.node.devices / plan.tensor_parallel, 1, plan.data_parallel),
                         std::min<int64_t>(plan.tensor_parallel, hardware.node.devices)};
  const double scatter = gather_seconds(hardware, place, weights * static_cast<double>(hardware.software.gradient_bytes));
  double data = 2 * scatter;
  if (plan.zero_stage == 2) data = (m + 1) * scatter;
  if (plan.zero_stage == 3) data = 3 * m * scatter;
  if (hardware.software.overlap_data) data = std::max(0.1 * data / m, data - each);
  const double owned = weights / (plan.zero_stage >= 1 ? static_cast<double>(plan.data_parallel) : 1);
  return m * slowest + bubble + data + memory_seconds(hardware.device, owned * 60);
}

class Search {
 public:
  Search(const StepPlan& base, const Hardware& hardware, const SearchOptions& options)
      : base_(base), hardware_(hardware), options_(options), table_(hardware) {}

  SearchResult run() {
    enumerate();
    if (estimates_.empty()) fail_without_grid();
    SearchResult result;
    result.considered = static_cast<int64_t>(estimates_.size());
    const double limit = hardware_.device.memory_bytes;
    std::vector<Estimate> fitting;
    std::copy_if(estimates_.begin(), estimates_.end(), std::back_inserter(fitting), [&](const Estimate& e) { return e.memory <= limit; });
    result.fitting = static_cast<int64_t>(fitting.size());
    std::sort(fitting.begin(), fitting.end(), [](const Estimate& a, const Estimate& b) {
      return a.seconds != b.seconds ? a.seconds < b.seconds : a.memory < b.memory;
    });
    for (const Estimate& e : chosen(fitting)) {
      Candidate candidate = evaluate(e.plan, hardware_, Detail::fast);
      if (candidate.memory_bytes <= limit) result.ranked.push_back(std::move(candidate));
    }
    if (result.ranked.empty()) fail_for_memory();
    std::stable_sort(result.ranked.begin(), result.ranked.end(),
                     [](const Candidate& a, const Candidate& b) { return a.step.seconds < b.step.seconds; });
    double least = 1e300;
    for (const Candidate& c : result.ranked)
      if (c.memory_bytes < least * 0.995) result.front.push_back(c), least = c.memory_bytes;
    return result;
  }

 private:
  bool kept(const char* key) const { return options_.keep.contains(key); }
  std::vector<int64_t> choices(const char* key, int64_t value, std::vector<int64_t> all) const {
    return kept(key) ? std::vector<int64_t>{value} : all;
  }

  void enumerate() {
    const int64_t n = options_.devices;
    for (const int64_t t : choices("parallel.tensor_parallel", base_.tensor_parallel, divisors(std::min(n, 2 * hardware_.node.devices)))) {
      if (n % t != 0 || base_.model.num_heads % t != 0 || base_.model.ffn_size() % t != 0) continue;
      for (const int64_t p : choices("parallel.pipeline_parallel", base_.pipeline_parallel, divisors(n / t))) {
        if ((n / t) % p != 0 || p > base_.model.num_layers) continue;
        const int64_t d = n / (t * p);
        if (base_.global_batch_size % d != 0) continue;
        for (const int64_t b : choices("train.micro_batch_size", base_.micro_batch_size, {1, 2, 4, 8, 16, 32}))
          if (base_.global_batch_size % (b * d) == 0) with_batch(t, p, d, b);
      }
    }
  }

  void with_batch(int64_t t, int64_t p, int64_t d, int64_t b) {
    StepPlan plan = base_;
    plan.tensor_parallel = t, plan.pipeline_parallel = p, plan.data_parallel = d, plan.micro_batch_size = b;
    plan.stage_layers.clear();
    std::vector<int64_t> chunks = {1};
    if (p > 1 && plan.micro_batches() % p == 0)
      for (int64_t v = 2; v <= plan.model.num_layers / p; ++v)
        if (plan.model.num_layers % (p * v) == 0) chunks.push_back(v);
    for (const int64_t v : choices("parallel.virtual_pipeline", base_.virtual_pipeline, chunks)) {
      if (std::find(chunks.begin(), chunks.end(), v) == chunks.end()) continue;
      plan.virtual_pipeline = v;
      std::vector<ScheduleKind> kinds = {ScheduleKind::interleaved_1f1b};
      if (p > 1 && v == 1 && options_.split_backward) kinds.push_back(ScheduleKind::zb_h1);
      if (kept("parallel.schedule")) kinds = {base_.schedule};
      for (const ScheduleKind kind : kinds) {
        if (v > 1 && kind != ScheduleKind::interleaved_1f1b) continue;
        plan.schedule = kind;
        with_schedule(plan);
      }
    }
  }

  void with_schedule(StepPlan plan) {
    const bool shares_tokens = plan.tensor_parallel > 1 && plan.micro_batch_size * plan.sequence_length % plan.tensor_parallel == 0;
    const bool zero23 = plan.pipeline_parallel == 1;  // with a pipeline each micro-batch would exchange everything
    for (const int64_t recompute : choices("train.recompute", static_cast<int64_t>(base_.recompute), {0, 1, 2})) {
      if (splits_backward(plan.schedule) && recompute == static_cast<int64_t>(Recomputation::full)) continue;
      for (const int64_t zero : choices("parallel.zero_stage", base_.zero_stage, zero23 ? std::vector<int64_t>{0, 1, 2, 3} : std::vector<int64_t>{0, 1})) {
        if (zero > 0 && plan.data_parallel == 1 && !kept("parallel.zero_stage")) continue;
        for (const int64_t sequence : choices("parallel.sequence_parallel", base_.sequence_parallel, {0, 1})) {
          if (sequence == 1 && !shares_tokens) continue;
          plan.recompute = static_cast<Recomputation>(recompute);
          plan.zero_stage = static_cast<int>(zero);
          plan.sequence_parallel = sequence == 1;
          estimates_.push_back({plan, estimated_seconds(plan, hardware_, table_), estimated_memory(plan, hardware_)});
        }
      }
    }
  }

  // The fastest, and the fastest of those that need less and less memory.
  std::vector<Estimate> chosen(const std::vector<Estimate>& fitting) const {
    std::vector<Estimate> result;
    double least = 1e300;
    int front = 0;
    for (size_t i = 0; i < fitting.size(); ++i) {
      const bool smaller = fitting[i].memory < 0.9 * least && front < options_.finalists / 2;
      if (smaller) ++front, least = fitting[i].memory;
      if (smaller || i < static_cast<size_t>(options_.finalists)) result.push_back(fitting[i]);
    }
    return result;
  }

  [[noreturn]] void fail_without_grid() const {
    const int64_t n = options_.devices;
    const auto works = [&](int64_t devices) {
      Search other(base_, hardware_, options_);
      other.options_.devices = devices;
      other.enumerate();
      return !other.estimates_.empty();
    };
    for (int64_t away = 1; away < n; ++away)
      for (const int64_t devices : {n - away, n + away})
        if (devices > 0 && works(devices))
          fail("no grid of {} devices divides train.global_batch_size = {} and a model of {} layers and {} heads{}; {} devices would do",
               n, base_.global_batch_size, base_.model.num_layers, base_.model.num_heads, kept_text(), devices);
    fail("no grid of {} devices divides train.global_batch_size = {}{}", n, base_.global_batch_size, kept_text());
  }

  [[noreturn]] void fail_for_memory() const {
    const Estimate least = *std::min_element(estimates_.begin(), estimates_.end(),
                                             [](const Estimate& a, const Estimate& b) { return a.memory < b.memory; });
    std::string more;
    for (int64_t devices = 2 * options_.devices; devices <= 64 * options_.devices && more.empty(); devices *= 2) {
      Search other(base_, hardware_, options_);
      other.options_.devices = devices;
      other.enumerate();
      for (const Estimate& e : other.estimates_)
        if (e.memory <= hardware_.device.memory_bytes) {
          more = fmt::format("; on {} devices {} would fit", devices, describe(e.plan));
          break;
        }
    }
    fail("nothing fits on {} devices of {}: the smallest of {} grids, {}, needs {} a device{}{}", options_.devices,
         format_bytes(hardware_.device.memory_bytes), estimates_.size(), describe(least.plan), format_bytes(least.memory), kept_text(), more);
  }

  std::string kept_text() const {
    std::string text;
    for (const std::string& key : options_.keep) text += (text.empty() ? " (kept: " : ", ") + key;
    return text.empty() ? text : text + ")";
  }

  StepPlan base_;
  const Hardware& hardware_;
  SearchOptions options_;
  LayerTable table_;
  std::vector<Estimate> estimates_;
};

}  // namespace

std::vector<std::string> searched_keys() {
  return {"parallel.tensor_parallel", "parallel.pipeline_parallel",  "parallel.virtual_pipeline", "parallel.schedule",
          "parallel.zero_stage",      "parallel.sequence_parallel", "train.micro_batch_size",    "train.recompute"};
}

SearchResult search(const StepPlan& base, const Hardware& hardware, const SearchOptions& options) {
  const std::vector<std::string> keys = searched_keys();
  for (const std::string& key : options.keep)
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      const std::string near = nearest_name(key, keys);
      fail("{} is not searched, so it cannot be kept{}", key, near.empty() ? "" : "; did you mean " + near + "?");
    }
  return Search(base, hardware, options).run();
}

Candidate evaluate(const StepPlan& plan, const Hardware& hardware, Detail detail) {
  Candidate candidate{plan, predict_step(plan, hardware, detail), predict_memory(plan, hardware), 0};
  candidate.memory_bytes = largest(candidate.memory);
  return candidate;
}

}  // namespace triax
