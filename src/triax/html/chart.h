// Line charts as inline SVG, drawn for the report page: no files, no scripts, colours and fonts
// from the page's style sheet (classes chart, axis, grid, line, s0 ... s7). The points are repeated
// in a data attribute, from which the page's script shows values under the pointer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace triax {

struct Series {
  std::string name;
  std::vector<double> x, y;  // same length, x ascending; what is not finite, or beyond 1e200, is a gap
  int colour = 0;            // 0 .. 7
  bool faint = false;        // thin and pale, behind the others, without legend
  bool dashed = false;
  bool dots = false;  // mark every point
};

struct Chart {
  std::string title;
  std::string x_label, y_label;
  std::vector<Series> series;
  bool log_x = false, log_y = false;  // what is not positive is left out
  bool from_zero = false;             // the y axis begins at 0 (linear only)
  double width = 960, height = 360;   // user units of the SVG; text is 13 of them
};

// A chart without a single point to draw is a frame that says so.
std::string draw_svg(const Chart& chart);

// Round tick positions that cover [low, high], about `count` of them: steps of 1, 2 or 5 x 10^k.
std::vector<double> linear_ticks(double low, double high, int count);
// 1, 2, 5 x 10^k within [low, high], decades only when there are many; linear ones within one
// decade.
std::vector<double> log_ticks(double low, double high);
// "0.0003" as "3e-4", "20000" as "20 k"; `step` is the distance to the next tick and sets the
// decimals.
std::string tick_label(double value, double step);

// Keeps at most about `limit` points, the smallest and largest of each stretch, so that spikes
// stay.
Series thinned(const Series& series, size_t limit);
// Exponential moving average with a window of up to about `window` points, shorter near the
// beginning; what is not finite stays and is not averaged.
std::vector<double> smoothed(const std::vector<double>& values, double window);

}  // namespace triax
