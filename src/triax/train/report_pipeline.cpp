#include "triax/train/report_pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "triax/base/text.h"
#include "triax/html/chart.h"

namespace triax {
namespace {

constexpr double kPictureWidth = 960, kPictureLeft = 62, kPictureRight = 84, kPictureTop = 6, kPictureBottom = 46;
constexpr double kDigitWidth = 7;     // of the numbers in blocks
constexpr int kHues = 12;             // then they come again
constexpr int64_t kMostIdeal = 1 << 16;  // computations of a schedule that is simulated for comparison

bool computes(const PipelineSpan& span) { return span.kind < ActionKind::start_send; }
bool is_forward(const PipelineSpan& span) { return span.kind == ActionKind::forward; }

// ---- colours ----

// "#rrggbb" of the OKLCH colour: equally light whatever the hue (degrees), so that numbers on it can be
// read. https://bottosson.github.io/posts/oklab/
std::string oklch(double lightness, double chroma, double hue) {
  const double a = chroma * std::cos(hue * M_PI / 180), b = chroma * std::sin(hue * M_PI / 180);
  const double l = std::pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3);
  const double m = std::pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3);
  const double s = std::pow(lightness - 0.0894841775 * a - 1.2914855480 * b, 3);
  const auto channel = [](double linear) {
    const double c = std::clamp(linear, 0.0, 1.0);
    return static_cast<int>(std::lround(255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * std::pow(c, 1 / 2.4) - 0.055)));
  };
  return fmt::format("#{:02x}{:02x}{:02x}", channel(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
                     channel(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
                     channel(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s));
}

// Hue by micro-batch; forward light, backward dark, the weight gradient alone greyish; later chunks darker.
std::string colour(const PipelineShape& shape, ActionKind kind, int micro_batch, int chunk) {
  const int hues = std::clamp(shape.micro_batches, 3, kHues);
  const double hue = 255 + 360.0 * (micro_batch % hues) / hues;
  const double later = shape.virtual_pipeline > 1 ? static_cast<double>(chunk) / (shape.virtual_pipeline - 1) : 0;
  if (kind == ActionKind::forward) return oklch(0.86 - 0.13 * later, 0.095, hue);
  return oklch(0.59 - 0.14 * later, kind == ActionKind::backward_weight ? 0.03 : 0.135, hue);
}

// ---- the picture ----

struct TimeUnit {
  double per_second;
  const char* name;
};
TimeUnit unit_for(double seconds) {
  return seconds < 2e-3 ? TimeUnit{1e6, "µs"} : seconds < 2 ? TimeUnit{1e3, "ms"} : TimeUnit{1, "s"};
}

std::string in_unit(double seconds, double of) {
  const TimeUnit unit = unit_for(of);
  return fmt::format("{:.4g} {}", seconds * unit.per_second, unit.name);
}

// A step of the pipeline, drawn with `seconds` over the full width.
class Picture {
 public:
  Picture(const PipelineRecord& record, const PipelineIdle& idle, double seconds)
      : record_(record), idle_(idle), seconds_(seconds) {
    const size_t ranks = record.ranks.size();
    row_ = ranks <= 4 ? 40 : ranks <= 8 ? 32 : ranks <= 16 ? 25 : 18;
    height_ = kPictureTop + row_ * static_cast<double>(ranks) + kPictureBottom;
  }

  std::string draw(std::string_view title, bool with_legend) const {
    std::string body = axis();
    for (size_t r = 0; r < record_.ranks.size(); ++r) body += rank(r);
    const double blocks = 2.0 * record_.shape.micro_batches * record_.shape.virtual_pipeline;
    return fmt::format(
        "<figure><figcaption><b>{0}</b><span class=\"legend\">{1}</span></figcaption>\n<svg class=\"chart pipeline{2}\" "
        "role=\"img\" aria-label=\"{0}\" viewBox=\"0 0 {3} {4}\">{5}</svg></figure>\n",
        escape_html(title), with_legend ? legend() : "", kPictureWidth / blocks < 12 ? " dense" : "", kPictureWidth, height_, body);
  }

 private:
  double x(double time) const {
    const double share = std::clamp((time - idle_.begin) / seconds_, 0.0, 1.0);
    return kPictureLeft + share * (kPictureWidth - kPictureRight - kPictureLeft);
  }

  std::string axis() const {
    const TimeUnit unit = unit_for(seconds_);
    const double bottom = height_ - kPictureBottom;
    const std::vector<double> ticks = linear_ticks(0, seconds_ * unit.per_second, 8);
    std::string out;
    for (size_t i = 0; i < ticks.size(); ++i) {
      const double at = x(idle_.begin + ticks[i] / unit.per_second);
      if (ticks[i] > seconds_ * unit.per_second * (1 + 1e-9)) continue;
      out += fmt::format("<path class=\"grid\" d=\"M{0:.1f} {1}V{2}\"/><text class=\"tick\" x=\"{0:.1f}\" y=\"{3}\" "
                         "text-anchor=\"middle\">{4}</text>",
                         at, kPictureTop, bottom + 5, bottom + 19, tick_label(ticks[i], ticks[1] - ticks[0]));
    }
    return out + fmt::format("<text class=\"label\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">time, {}</text>",
                             (kPictureLeft + kPictureWidth - kPictureRight) / 2, height_ - 6, unit.name);
  }

  std::string rank(size_t r) const {
    const double top = kPictureTop + row_ * static_cast<double>(r), middle = row_ / 2 + 4;
    std::string out = fmt::format(
        "<g transform=\"translate(0 {})\"><text class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"end\">rank {}</text>"
        "<text class=\"tick\" x=\"{}\" y=\"{}\">idle {:.1f} %</text>"
        "<rect class=\"idle\" x=\"{:.2f}\" y=\"2\" width=\"{:.2f}\" height=\"{}\"><title>idle</title></rect>\n",
        top, kPictureLeft - 8, middle, record_.ranks[r].rank, kPictureWidth - kPictureRight + 8, middle, 100 * idle_.share[r],
        x(idle_.begin), x(idle_.end) - x(idle_.begin), row_ - 4);
    for (const bool computing : {false, true})
      for (const PipelineSpan& span : record_.ranks[r].spans)
        if (computes(span) == computing) out += block(span);
    return out + "</g>";
  }

  std::string block(const PipelineSpan& span) const {
    const double left = x(span.start), width = x(span.end) - left;
    const std::string time = in_unit(span.end - span.start, span.end - span.start);
    const std::string chunk = record_.shape.virtual_pipeline > 1 ? fmt::format(", chunk {}", span.chunk) : "";
    const std::string where = fmt::format("micro-batch {}{}, {}", span.micro_batch, chunk, time);
    if (!computes(span)) {
      if (width < 0.5) return {};
      const char* what = span.kind == ActionKind::wait_receive ? "waits for a message" : "waits until a message has left";
      return fmt::format(
          "<rect class=\"wait\" x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"4\"><title>{}, {}</title></rect>", left,
          row_ / 2 - 2, width, what, where);
    }
    std::string out = fmt::format(
        "<rect fill=\"{}\" x=\"{:.2f}\" y=\"2\" width=\"{:.2f}\" height=\"{}\"><title>{}, {}</title></rect>",
        colour(record_.shape, span.kind, span.micro_batch, span.chunk), left, width, row_ - 4, kind_text(span.kind), where);
    const std::string number = std::to_string(span.micro_batch);
    if (width >= kDigitWidth * static_cast<double>(number.size()) + 3)
      out += fmt::format("<text class=\"{}\" x=\"{:.2f}\" y=\"{}\">{}</text>", is_forward(span) ? "dark" : "bright",
                         left + width / 2, row_ / 2 + 4, number);
    return out;
  }

  static std::string_view kind_text(ActionKind kind) {
    switch (kind) {
      case ActionKind::forward: return "forward";
      case ActionKind::backward_input: return "backward, gradient of the input";
      case ActionKind::backward_weight: return "backward, gradient of the weights";
      default: return "backward";
    }
  }

  // The blocks of the first micro-batch: what light, dark and grey mean.
  std::string legend() const {
    std::string out;
    const auto entry = [&](ActionKind kind, const char* text) {
      std::string swatches;
      for (int chunk = 0; chunk < std::min(record_.shape.virtual_pipeline, 4); ++chunk)
        swatches += fmt::format("<i style=\"background:{}\"></i>", colour(record_.shape, kind, 0, chunk));
      out += fmt::format("<span class=\"swatch\">{}{}</span>", swatches, text);
    };
    const bool split = splits_backward(record_.schedule);
    entry(ActionKind::forward, "forward");
    entry(ActionKind::backward, split ? "backward: input" : "backward");
    if (split) entry(ActionKind::backward_weight, "backward: weights");
    out += "<span class=\"swatch\"><i class=\"idle\"></i>idle</span>";
    return out + (record_.shape.virtual_pipeline > 1
                      ? "<span>colour and number: micro-batch; darker: later chunk</span>"
                      : "<span>colour and number: micro-batch</span>");
  }

  const PipelineRecord& record_;
  const PipelineIdle& idle_;
  double seconds_, row_, height_;
};

// ---- what the measured step is compared with ----

// The same schedule if all computations of a kind took equally long and messages no time.
PipelineRecord ideal_of(const PipelineRecord& record, const ActionTimes& times) {
  PipelineRecord ideal = record;
  const auto lists = schedules(record.schedule, record.shape);
  const Simulation simulation = simulate(lists, record.shape, times);
  for (size_t r = 0; r < lists.size(); ++r) {
    ideal.ranks[r].spans.clear();
    for (size_t i = 0; i < lists[r].size(); ++i)
      if (!lists[r][i].is_message())
        ideal.ranks[r].spans.push_back({lists[r][i].kind, lists[r][i].micro_batch, lists[r][i].chunk,
                                        simulation.spans[r][i].start, simulation.spans[r][i].end});
  }
  return ideal;
}

std::string pictures(const PipelineRecord& record, const PipelineIdle& idle) {
  const PipelineShape& shape = record.shape;
  if (int64_t{shape.micro_batches} * shape.stages() > kMostIdeal)
    return Picture(record, idle, idle.seconds()).draw("Measured", true);
  const PipelineRecord ideal = ideal_of(record, idle.times);
  const PipelineIdle ideal_idle = idle_of(ideal);
  const double seconds = std::max(idle.seconds(), ideal_idle.seconds());
  return Picture(record, idle, seconds).draw(fmt::format("Measured: {}", in_unit(idle.seconds(), seconds)), true) +
         Picture(ideal, ideal_idle, seconds)
             .draw(fmt::format("By the schedule, with the mean times and free messages: {}",
                               in_unit(ideal_idle.seconds(), seconds)),
                   false);
}

std::string sentence(const PipelineRecord& record, const PipelineIdle& idle) {
  const PipelineShape& shape = record.shape;
  std::string out = fmt::format("Step {}, schedule {}: p = {} ranks", record.step, name_of(record.schedule),
                                shape.pipeline_parallel);
  if (shape.virtual_pipeline > 1) out += fmt::format(" with v = {} chunks each", shape.virtual_pipeline);
  out += fmt::format(", m = {} micro-batches", shape.micro_batches);
  if (record.tensor_parallel * record.data_parallel > 1)
    out += fmt::format("; one of the {} pipelines of t = {}, d = {}", record.tensor_parallel * record.data_parallel,
                       record.tensor_parallel, record.data_parallel);
  return fmt::format(
      "<p class=\"lead\">{}. The step took {}, its pipeline {}.<br/>\n"
      "<b>Measured bubble {:.1f} % – published {} = {:.1f} %</b></p>\n",
      escape_html(out), in_unit(record.step_seconds, record.step_seconds), in_unit(idle.seconds(), record.step_seconds),
      100 * idle.bubble, escape_html(published_formula(record)), 100 * idle.published);
}

// ---- tables ----

std::string cell(const std::string& text) { return fmt::format("<td class=\"n\">{}</td>", escape_html(text)); }

std::string bytes_text(double bytes) { return bytes > 0 ? format_bytes(bytes) : "–"; }

std::string memory_table(const PipelineRecord& record) {
  std::string rows;
  for (const PipelineRank& rank : record.ranks) {
    const auto predicted = static_cast<double>(rank.predicted_bytes);
    const auto measured = static_cast<double>(rank.measured_bytes);
    if (predicted + measured > 0)
      rows += fmt::format("<tr><td>rank {}</td>{}{}{}</tr>\n", rank.rank, cell(bytes_text(predicted)),
                          cell(bytes_text(measured)), cell(measured > 0 ? difference_text(measured, predicted) : "–"));
  }
  if (rows.empty()) return {};
  return "<h3>Memory of each rank</h3>\n<div class=\"card\"><table><tr><th></th><th class=\"n\">predicted</th>"
         "<th class=\"n\">measured</th><th class=\"n\">difference</th></tr>\n" + rows + "</table></div>\n";
}

std::string communication_table(const PipelineRecord& record) {
  std::string rows;
  for (const PipelineRank& rank : record.ranks)
    for (const VolumeRow& row : rank.communication)
      rows += fmt::format("<tr><td>rank {}</td><td>{}</td>{}{}{}{}</tr>\n", rank.rank, escape_html(row.group),
                          cell(std::to_string(row.calls)), cell(bytes_text(row.bytes)),
                          cell(bytes_text(row.formula_bytes)), cell(difference_text(row.bytes, row.formula_bytes)));
  if (rows.empty()) return {};
  return "<h3>Sent by each rank in the step, collectives taken as rings</h3>\n<div class=\"card\"><table><tr><th></th>"
         "<th>group</th><th class=\"n\">calls</th><th class=\"n\">measured</th><th class=\"n\">formula</th>"
         "<th class=\"n\">difference</th></tr>\n" +
         rows + "</table></div>\n";
}

}  // namespace

std::string pipeline_section(const PipelineRecord& record) {
  const PipelineIdle idle = idle_of(record);
  return "<h2>Pipeline</h2>\n" + sentence(record, idle) + "<div class=\"pictures\">\n" + pictures(record, idle) +
         "</div>\n<div class=\"grid2\"><div>" + memory_table(record) + "</div><div>" + communication_table(record) +
         "</div></div>\n";
}

}  // namespace triax
