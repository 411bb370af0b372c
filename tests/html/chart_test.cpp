#include "triax/html/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace triax {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Chart, LinearTicksAreRoundAndCoverTheRange) {
  EXPECT_EQ(linear_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(linear_ticks(1, 1999, 4), (std::vector<double>{0, 500, 1000, 1500, 2000}));
  const std::vector<double> small = linear_ticks(2.9e-4, 3.1e-4, 4);
  EXPECT_NEAR(small.front(), 2.9e-4, 1e-9);
  EXPECT_NEAR(small.back(), 3.1e-4, 1e-9);
  EXPECT_EQ(linear_ticks(-1, 1, 2), (std::vector<double>{-1, 0, 1}));
}

TEST(Chart, LogTicks) {
  EXPECT_EQ(log_ticks(1, 1e5), (std::vector<double>{1, 10, 100, 1000, 10000, 100000}));
  EXPECT_EQ(log_ticks(3, 16), (std::vector<double>{3, 4, 5, 7, 10, 15}));
  EXPECT_EQ(log_ticks(1, 60), (std::vector<double>{1, 2, 5, 10, 20, 50}));
  EXPECT_LE(log_ticks(1e-30, 1e30).size(), 9u);
}

TEST(Chart, TickLabels) {
  EXPECT_EQ(tick_label(0, 5), "0");
  EXPECT_EQ(tick_label(1500, 500), "1500");
  EXPECT_EQ(tick_label(20000, 10000), "20 k");
  EXPECT_EQ(tick_label(2.5e6, 5e5), "2.5 M");
  EXPECT_EQ(tick_label(3.4, 0.2), "3.4");
  EXPECT_EQ(tick_label(3, 0.2), "3.0");
  EXPECT_EQ(tick_label(3e-4, 1e-4), "3e-4");
  EXPECT_EQ(tick_label(1.5e-3, 5e-4), "1.5e-3");
  EXPECT_EQ(tick_label(1e12, 1e12), "1 T");
}

TEST(Chart, ThinningKeepsSpikesAndTheLastPoint) {
  Series series;
  for (int i = 0; i < 10000; ++i) {
    series.x.push_back(i);
    series.y.push_back(i == 5003 ? 100 : i == 7001 ? -100 : i == 100 ? kNan : i % 7);
  }
  const Series thin = thinned(series, 200);
  EXPECT_LE(thin.x.size(), 201u);
  EXPECT_TRUE(std::is_sorted(thin.x.begin(), thin.x.end()));
  EXPECT_NE(std::find(thin.y.begin(), thin.y.end(), 100), thin.y.end());
  EXPECT_NE(std::find(thin.y.begin(), thin.y.end(), -100), thin.y.end());
  EXPECT_EQ(thin.x.back(), 9999);
}

TEST(Chart, SmoothingFollowsAndIgnoresGaps) {
  EXPECT_EQ(smoothed({1, 2, 3}, 1), (std::vector<double>{1, 2, 3}));
  const std::vector<double> constant = smoothed(std::vector<double>(50, 4.0), 20);
  EXPECT_EQ(constant.front(), 4);
  EXPECT_DOUBLE_EQ(constant.back(), 4);
  const std::vector<double> gap = smoothed({2, kNan, 2}, 5);
  EXPECT_TRUE(std::isnan(gap[1]));
  EXPECT_EQ(gap[2], 2);
  std::vector<double> step(200, 0.0);
  step.resize(400, 1.0);
  const std::vector<double> after = smoothed(step, 20);
  EXPECT_LT(after[205], 0.6);
  EXPECT_GT(after[260], 0.99);
}

TEST(Chart, OddDataDrawSomething) {
  Chart chart{"t", "x", "y", {}, false, false, false, 400, 200};
  EXPECT_NE(draw_svg(chart).find("nothing to draw yet"), std::string::npos);
  const double inf = std::numeric_limits<double>::infinity();
  const std::vector<std::vector<double>> odd = {
      {kNan},          {inf, -inf},      {0},         {0, 0, 0}, {-5, kNan, 5},
      {1e308, -1e308}, {5e-324, 1e-320}, {1e-9, 1e9}, {3},       {1e300, 1e300}};
  for (const std::vector<double>& values : odd) {
    for (const bool log : {false, true}) {
      chart.log_x = chart.log_y = log;
      Series series;
      for (size_t i = 0; i < values.size(); ++i) series.x.push_back(static_cast<double>(i));
      series.y = values;
      chart.series = {series};
      const std::string svg = draw_svg(chart);
      EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
      EXPECT_EQ(svg.find("inf"), std::string::npos) << svg;
      EXPECT_LT(svg.size(), 10000u);
    }
  }
}

TEST(Chart, GapsBreakTheLine) {
  Chart chart{"t", "x", "y", {}, false, false, false, 400, 200};
  Series series;
  series.x = {0, 1, 2, 3, 4, 5};
  series.y = {1, 2, kNan, 3, kNan, 4};
  chart.series = {series};
  const std::string svg = draw_svg(chart);
  const size_t begin = svg.find("class=\"line s0\" d=\"");
  const std::string path = svg.substr(begin, svg.find("/>", begin) - begin);
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 3);
  EXPECT_EQ(std::count(path.begin(), path.end(), 'L'), 1);
  EXPECT_NE(svg.find("<circle"), std::string::npos);  // the points that stand alone
}

}  // namespace
}  // namespace triax
