#include "triax/html/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "triax/base/text.h"

namespace triax {
namespace {

constexpr size_t kMaxPoints = 600;
constexpr double kLeft = 64, kRight = 16, kTop = 12, kBottom = 46;

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void include(double v) { low = std::min(low, v), high = std::max(high, v); }
  bool empty() const { return low > high; }
};

// One axis: values to pixels.
struct Axis {
  Range range;
  bool log = false;
  double begin = 0, end = 0;  // pixels of range.low and range.high
  std::vector<double> ticks;

  double at(double v) const {
    const double share = log ? std::log(v / range.low) / std::log(range.high / range.low)
                             : (v - range.low) / (range.high - range.low);
    return begin + share * (end - begin);
  }
};

// Far outside of what a run can mean, and where the arithmetic of axes would overflow.
bool extreme(double v) { return !(std::fabs(v) < 1e200) || (v != 0 && std::fabs(v) < 1e-200); }

bool drawable(const Chart& chart, double x, double y) {
  return !extreme(x) && !extreme(y) && (!chart.log_x || x > 0) && (!chart.log_y || y > 0);
}

// A range without extent gets some, so that a single point stands in the middle.
void widen(Range& range, bool log) {
  if (range.high > range.low * (1 + 1e-9) && range.high - range.low > 1e-300) return;
  const double v = range.low;
  if (log) {
    range = {v / 2, v * 2};
  } else {
    const double margin = v == 0 ? 1 : std::fabs(v) * 0.1;
    range = {v - margin, v + margin};
  }
}

Axis make_axis(Range range, bool log, bool from_zero, int tick_count, double begin, double end) {
  if (from_zero && !log) range.include(0);
  widen(range, log);
  Axis axis{range, log, begin, end, {}};
  axis.ticks =
      log ? log_ticks(range.low, range.high) : linear_ticks(range.low, range.high, tick_count);
  if (log) return axis;
  if (from_zero) {  // the axis ends at a tick
    axis.range.high = std::max(axis.range.high, axis.ticks.back());
  } else {
    const double margin = 0.04 * (range.high - range.low);
    axis.range = {range.low - margin, range.high + margin};
    std::erase_if(axis.ticks,
                  [&](double tick) { return tick < axis.range.low || tick > axis.range.high; });
  }
  return axis;
}

double tick_step(const std::vector<double>& ticks, size_t i) {
  if (ticks.size() < 2) return 0;
  return i + 1 < ticks.size() ? ticks[i + 1] - ticks[i] : ticks[i] - ticks[i - 1];
}

std::string draw_axes(const Chart& chart, const Axis& x, const Axis& y) {
  std::string out;
  for (size_t i = 0; i < y.ticks.size(); ++i) {
    const double at = y.at(y.ticks[i]);
    out += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>", x.begin, at, x.end);
    out +=
        fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>",
                    x.begin - 8, at + 4, tick_label(y.ticks[i], tick_step(y.ticks, i)));
  }
  for (size_t i = 0; i < x.ticks.size(); ++i) {
    const double at = x.at(x.ticks[i]);
    out += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}v5\"/>", at, y.begin);
    out += fmt::format(
        "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>", at,
        y.begin + 19, tick_label(x.ticks[i], tick_step(x.ticks, i)));
  }
  out += fmt::format("<path class=\"axis\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>", x.begin, y.begin, x.end);
  out += fmt::format(
      "<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>",
      (x.begin + x.end) / 2, chart.height - 6, escape_html(chart.x_label));
  out += fmt::format(
      "<text class=\"label\" transform=\"translate(13 {:.1f}) rotate(-90)\" "
      "text-anchor=\"middle\">{}</text>",
      (y.begin + y.end) / 2, escape_html(chart.y_label));
  return out;
}

std::string draw_line(const Chart& chart, const Series& series, const Axis& x, const Axis& y) {
  std::string path, dots;
  bool open = false;
  size_t run = 0;  // points of the open stretch
  double px = 0, py = 0;
  const auto dot = [&](double radius) {
    dots += fmt::format("<circle class=\"s{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"/>",
                        series.colour, px, py, radius);
  };
  for (size_t i = 0; i < series.x.size(); ++i) {
    if (!drawable(chart, series.x[i], series.y[i])) {
      if (run == 1 && !series.dots) dot(2.5);  // a point alone is no line
      open = false, run = 0;
      continue;
    }
    px = x.at(series.x[i]), py = y.at(series.y[i]);
    path += fmt::format("{}{:.1f} {:.1f}", open ? "L" : "M", px, py);
    if (series.dots) dot(3);
    open = true, ++run;
  }
  if (run == 1 && !series.dots) dot(2.5);
  return fmt::format("<path class=\"line s{}{}{}\" d=\"{}\"/>{}", series.colour,
                     series.faint ? " faint" : "", series.dashed ? " dashed" : "", path, dots);
}

std::string json_numbers(const std::vector<double>& values) {
  std::string out = "[";
  for (const double v : values) {
    if (out.size() > 1) out += ',';
    out += std::isfinite(v) ? fmt::format("{:.6g}", v) : "null";
  }
  return out + ']';
}

std::string json_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

// What the page's script needs to show values: the points, and where the plot lies.
std::string data_attribute(const Chart& chart, const Axis& x) {
  std::string series;
  for (const Series& s : chart.series) {
    if (s.faint) continue;
    series += fmt::format("{}{{\"n\":{},\"c\":{},\"x\":{},\"y\":{}}}", series.empty() ? "" : ",",
                          json_string(s.name), s.colour, json_numbers(s.x), json_numbers(s.y));
  }
  return escape_html(fmt::format(
      "{{\"l\":{:.10g},\"h\":{:.10g},\"log\":{},\"b\":{:.1f},\"e\":{:.1f},\"x\":{},\"s\":[{}]}}",
      x.range.low, x.range.high, x.log ? 1 : 0, x.begin, x.end, json_string(chart.x_label),
      series));
}

std::string legend(const Chart& chart) {
  std::string out;
  for (const Series& s : chart.series) {
    if (s.faint) continue;
    out += fmt::format("<span class=\"key{} s{}\">{}</span>", s.dashed ? " dashed" : "", s.colour,
                       escape_html(s.name));
  }
  return out;
}

std::string figure(const Chart& chart, const std::string& attributes, const std::string& body) {
  const size_t named = static_cast<size_t>(std::count_if(chart.series.begin(), chart.series.end(),
                                                         [](const Series& s) { return !s.faint; }));
  return fmt::format(
      "<figure><figcaption><b>{}</b>{}</figcaption><svg class=\"chart\" role=\"img\" "
      "aria-label=\"{}\" "
      "viewBox=\"0 0 {} {}\"{}>{}</svg></figure>\n",
      escape_html(chart.title),
      named > 1 ? "<span class=\"legend\">" + legend(chart) + "</span>" : "",
      escape_html(chart.title), chart.width, chart.height, attributes, body);
}

}  // namespace

std::vector<double> linear_ticks(double low, double high, int count) {
  const double rough = (high - low) / std::max(count, 1);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double fraction = rough / power;
  const double step = power * (fraction <= 1 ? 1 : fraction <= 2 ? 2 : fraction <= 5 ? 5 : 10);
  std::vector<double> ticks;
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  for (double i = first; i <= last && ticks.size() < 100; ++i) ticks.push_back(i * step);
  return ticks;
}

std::vector<double> log_ticks(double low, double high) {
  const double decades = std::log10(high / low);
  std::vector<double> ticks;
  const auto add = [&](double tick) {
    if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push_back(tick);
  };
  if (decades < 0.35) {
    for (const double tick : linear_ticks(low, high, 5)) add(tick);
    return ticks;
  }
  const std::vector<double> mantissas = decades < 1.2 ? std::vector<double>{1, 1.5, 2, 3, 4, 5, 7}
                                        : decades < 3 ? std::vector<double>{1, 2, 5}
                                                      : std::vector<double>{1};
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / 8)));
  const int last = static_cast<int>(std::floor(std::log10(high)));
  for (int k = static_cast<int>(std::floor(std::log10(low))); k <= last; ++k) {
    if (k % stride != 0) continue;
    for (const double m : mantissas) add(m * std::pow(10.0, k));
  }
  return ticks;
}

std::string tick_label(double value, double step) {
  constexpr std::array<const char*, 5> kUnits = {"", " k", " M", " B", " T"};
  const double size = std::max(std::fabs(value), std::fabs(step));
  if (value == 0 || size == 0) return "0";
  if (size < 1e-2) {
    const int exponent = static_cast<int>(std::floor(std::log10(std::fabs(value)) + 1e-9));
    return fmt::format("{:.3g}e{}", value / std::pow(10.0, exponent), exponent);
  }
  size_t unit = 0;
  while (size >= 9999.5 && unit + 1 < kUnits.size() && std::fabs(value) >= 999.5) {
    value /= 1000, step /= 1000, ++unit;
    if (std::fabs(value) < 999.5) break;
  }
  int decimals = 0;
  for (double s = std::fabs(step); s > 0 && decimals < 6 && std::fabs(s - std::round(s)) > 1e-6 * s;
       s *= 10)
    ++decimals;
  return fmt::format("{:.{}f}{}", value, decimals, kUnits[unit]);
}

Series thinned(const Series& series, size_t limit) {
  const size_t n = series.x.size();
  if (n <= limit) return series;
  Series out = series;
  out.x.clear(), out.y.clear();
  const size_t buckets = std::max<size_t>(limit / 2, 1);
  for (size_t b = 0; b < buckets; ++b) {
    const size_t begin = b * n / buckets, end = (b + 1) * n / buckets;
    size_t low = begin, high = begin;
    for (size_t i = begin; i < end; ++i) {
      if (!(series.y[low] <= series.y[i])) low = i;  // NaN gives way to anything
      if (!(series.y[high] >= series.y[i])) high = i;
    }
    for (const size_t i : {std::min(low, high), std::max(low, high)}) {
      out.x.push_back(series.x[i]);
      out.y.push_back(series.y[i]);
      if (low == high) break;
    }
  }
  if (out.x.back() != series.x.back()) {  // the newest value is the one people look for
    out.x.push_back(series.x.back());
    out.y.push_back(series.y.back());
  }
  return out;
}

std::vector<double> smoothed(const std::vector<double>& values, double window) {
  std::vector<double> out;
  out.reserve(values.size());
  double mean = 0, seen = 0;
  for (const double v : values) {
    if (std::isfinite(v)) {
      // The window grows with what was seen: the steep beginning of a loss curve is not smeared.
      mean += 2 / (std::min(std::max(window, 1.0), 1 + seen / 5) + 1) * (v - mean);
      ++seen;
    }
    out.push_back(std::isfinite(v) ? mean : v);
  }
  return out;
}

std::string draw_svg(const Chart& whole) {
  Chart chart = whole;
  for (Series& series : chart.series) series = thinned(series, kMaxPoints);
  Range xs, ys;
  bool whole_x = true;  // epochs, devices: no ticks between them
  for (const Series& s : chart.series) {
    for (size_t i = 0; i < s.x.size(); ++i) {
      if (drawable(chart, s.x[i], s.y[i])) xs.include(s.x[i]), ys.include(s.y[i]);
      whole_x &= s.x[i] == std::floor(s.x[i]);
    }
  }
  if (xs.empty()) {
    chart.height = 120;
    return figure(
        chart, "",
        fmt::format("<text class=\"label\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">nothing to "
                    "draw yet</text>",
                    chart.width / 2, chart.height / 2));
  }
  const int y_ticks = static_cast<int>(chart.height / 60);
  int x_ticks = static_cast<int>(chart.width / 110);
  if (whole_x && xs.high > xs.low && xs.high - xs.low < x_ticks) x_ticks = static_cast<int>(xs.high - xs.low);
  if (!chart.log_x && xs.low > 0 && xs.low < 0.02 * xs.high)
    xs.low = 0;  // a run begins at 0, its first line later
  Axis x = make_axis(xs, chart.log_x, false, x_ticks, kLeft, chart.width - kRight);
  const Axis y = make_axis(ys, chart.log_y, chart.from_zero, y_ticks, chart.height - kBottom, kTop);
  if (!x.log && xs.high > xs.low) {  // in x the data fill the width
    x.range = xs;
    std::erase_if(x.ticks, [&](double tick) { return tick < xs.low || tick > xs.high; });
  }
  std::string body = draw_axes(chart, x, y);
  for (const bool faint : {true, false}) {
    for (const Series& s : chart.series) {
      if (s.faint == faint) body += draw_line(chart, s, x, y);
    }
  }
  return figure(chart, " data-chart=\"" + data_attribute(chart, x) + "\"", body);
}

}  // namespace triax
