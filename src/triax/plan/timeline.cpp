// The pictures of a plan: every stage over time, what a step's time and a device's memory are spent on.
#include <algorithm>
#include <array>
#include <map>

#include "triax/base/text.h"
#include "triax/html/chart.h"
#include "triax/plan/page.h"
#include "triax/plan/tables.h"

namespace triax {
namespace {

constexpr double kWidth = 960, kLeft = 74, kRight = 14, kTop = 8, kBottom = 42;

// Two shades each of forward and backward, in turn by micro-batch, and of weight gradients alone.
size_t shade(const Action& action) {
  const size_t odd = static_cast<size_t>(action.micro_batch % 2);
  switch (action.kind) {
    case ActionKind::forward: return odd;
    case ActionKind::backward_weight: return 4 + odd;
    default: return 2 + odd;
  }
}

std::string time_axis(double seconds, double bottom) {
  const bool ms = seconds < 2;
  const double scale = ms ? 1e3 : 1;
  std::string out;
  const std::vector<double> ticks = linear_ticks(0, seconds * scale, 8);
  for (const double tick : ticks) {
    const double at = kLeft + tick / (seconds * scale) * (kWidth - kLeft - kRight);
    if (at > kWidth - kRight + 1) continue;
    out += fmt::format("<path class=\"grid\" d=\"M{0:.1f} {1}V{2:.1f}\"/><text class=\"tick\" x=\"{0:.1f}\" y=\"{3:.1f}\" text-anchor=\"middle\">{4}</text>",
                       at, kTop, bottom + 4, bottom + 18, tick_label(tick, ticks[1] - ticks[0]));
  }
  return out + fmt::format("<text class=\"label\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"middle\">time, {}</text>", (kLeft + kWidth) / 2, bottom + 36, ms ? "ms" : "s");
}

// Blocks thinner than a tenth of a pixel would only make the page heavy: neighbours of a shade are drawn as one.
std::string stage_row(const std::vector<Action>& list, const std::vector<TimeSpan>& spans, double top, double height, double scale) {
  std::array<std::string, 6> paths;
  size_t open = 6;
  double from = 0, to = 0;
  const auto close = [&] {
    if (open < 6) paths[open] += fmt::format("M{:.2f} {:.1f}H{:.2f}V{:.1f}H{:.2f}z", kLeft + from * scale, top, kLeft + to * scale, top + height, kLeft + from * scale);
  };
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].is_message()) continue;
    const size_t kind = shade(list[i]);
    const bool joins = open == kind && (spans[i].start - to) * scale < 0.1 && (spans[i].end - from) * scale < 0.3;
    if (!joins) {
      close();
      open = kind, from = spans[i].start;
    }
    to = spans[i].end;
  }
  close();
  std::string out;
  for (size_t k = 0; k < paths.size(); ++k)
    if (!paths[k].empty()) out += fmt::format("<path class=\"b{}\" d=\"{}\"/>", k, paths[k]);
  return out;
}

std::string swatch(const char* name, int k) { return fmt::format("<span class=\"swatch\"><svg width=\"12\" height=\"12\"><rect class=\"b{}\" width=\"12\" height=\"12\"/></svg> {}</span>", k, name); }

std::string bar_row(const std::string& name, const std::vector<std::pair<std::string, double>>& parts, const std::map<std::string, int>& colours,
                    double top, double scale, double total, const std::string& value) {
  std::string out = fmt::format("<text class=\"tick\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", kLeft - 8, top + 15, escape_html(name));
  double x = kLeft;
  for (const auto& [what, amount] : parts) {
    out += fmt::format("<rect class=\"f{}\" x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"20\"><title>{}: {:.1f} %</title></rect>", colours.at(what), x, top,
                       std::max(0.0, amount * scale), escape_html(what), 100 * amount / total);
    x += amount * scale;
  }
  return out + fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", x + 6, top + 15, value);
}

std::string keys(const std::map<std::string, int>& colours, const std::vector<std::string>& order) {
  std::string out;
  for (const std::string& what : order)
    out += fmt::format("<span class=\"swatch\"><svg width=\"12\" height=\"12\"><rect class=\"f{}\" width=\"12\" height=\"12\"/></svg> {}</span>", colours.at(what), escape_html(what));
  return out;
}

}  // namespace

std::string timeline_svg(const StepPlan& plan, const SimulatedStep& step) {
  const double ranks = static_cast<double>(step.lists.size());
  const double height = std::clamp(420 / ranks, 7.0, 30.0), bottom = kTop + height * ranks;
  const double scale = (kWidth - kLeft - kRight) / step.simulation.makespan;
  std::string body = time_axis(step.simulation.makespan, bottom);
  body += fmt::format("<rect class=\"idle\" x=\"{}\" y=\"{}\" width=\"{:.2f}\" height=\"{:.1f}\"/>", kLeft, kTop, step.simulation.makespan * scale, height * ranks);
  const size_t every = static_cast<size_t>(std::max(1.0, 14 / height));
  for (size_t r = 0; r < step.lists.size(); ++r) {
    const double top = kTop + height * static_cast<double>(r);
    if (r % every == 0)
      body += fmt::format("<text class=\"tick\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">stage {}</text>", kLeft - 8, top + height / 2 + 4, r);
    body += fmt::format("<g><title>stage {}: idle {:.1f} %</title>{}</g>", r, 100 * step.simulation.idle(static_cast<int>(r)) / step.simulation.makespan,
                        stage_row(step.lists[r], step.simulation.spans[r], top + 0.5, height - 1, scale));
  }
  const bool split = splits_backward(plan.schedule);
  return fmt::format("<figure><figcaption><b>One step of the pipeline, simulated on the schedule that the trainer runs</b><span class=\"legend\">{}{}{}"
                     "<span>shades: micro-batches in turn</span></span></figcaption><svg class=\"chart plan\" role=\"img\" aria-label=\"timeline\" "
                     "viewBox=\"0 0 {} {:.0f}\">{}</svg></figure>\n",
                     swatch("forward", 0), swatch(split ? "backward: input" : "backward", 2), split ? swatch("backward: weights", 4) : "", kWidth, bottom + kBottom, body);
}

std::string breakdown_svg(const StepPrediction& step) {
  const std::vector<Slice> all = slices(step);
  std::map<std::string, int> colours;
  std::vector<std::string> order;
  for (const Slice& slice : all) colours.emplace(slice.what, slice.colour), order.push_back(slice.what);
  std::vector<std::pair<std::string, double>> parts;
  for (const Slice& slice : all) parts.emplace_back(slice.what, slice.seconds);
  const double scale = (kWidth - kLeft - 90) / step.seconds;
  return fmt::format("<figure><figcaption><b>Where the time of a step goes</b><span class=\"legend\">{}</span></figcaption><svg class=\"chart plan\" role=\"img\" "
                     "aria-label=\"breakdown\" viewBox=\"0 0 {} 40\">{}</svg></figure>\n",
                     keys(colours, order), kWidth, bar_row("step", parts, colours, 8, scale, step.seconds, fmt::format("{:.3g} s", step.seconds)));
}

std::string memory_svg(const Candidate& candidate, const Hardware& hardware) {
  std::map<std::string, int> colours;
  std::vector<std::string> order;
  for (const RankMemory& rank : candidate.memory)
    for (const MemoryUse& use : rank.uses)
      if (colours.emplace(use.purpose, static_cast<int>(order.size() + (order.size() >= 5 ? 1 : 0))).second) order.push_back(use.purpose);
  const size_t ranks = candidate.memory.size(), every = (ranks + 15) / 16;
  const double limit = hardware.device.memory_bytes, most = std::max(limit, candidate.memory_bytes);
  const double scale = (kWidth - kLeft - 90) / most;
  std::string body;
  double top = 8;
  for (size_t r = 0; r < ranks; r += every) {
    std::vector<std::pair<std::string, double>> parts;
    for (const MemoryUse& use : candidate.memory[r].uses) parts.emplace_back(use.purpose, static_cast<double>(use.bytes));
    body += bar_row(fmt::format("stage {}", r), parts, colours, top, scale, candidate.memory[r].total(), format_bytes(candidate.memory[r].total()));
    top += 24;
  }
  body += fmt::format("<path class=\"limit\" d=\"M{0:.1f} 2V{1:.1f}\"/><text class=\"tick\" x=\"{0:.1f}\" y=\"{2:.1f}\" text-anchor=\"middle\">{3} a device</text>",
                      kLeft + limit * scale, top, top + 14, format_bytes(limit));
  return fmt::format("<figure><figcaption><b>Memory of a device</b><span class=\"legend\">{}</span></figcaption><svg class=\"chart plan\" role=\"img\" "
                     "aria-label=\"memory\" viewBox=\"0 0 {} {:.0f}\">{}</svg></figure>\n",
                     keys(colours, order), kWidth, top + 20, body);
}

}  // namespace triax
