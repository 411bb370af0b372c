// What a study found: a row for each cell, a column for each task, as the papers print it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "triax/study/config.h"
#include "triax/study/plan.h"

namespace triax::study {

// The test score of a task, or the dev score where there is no test file: the mean over the seeds.
struct TaskScore {
  std::string metric;
  double mean = 0, deviation = 0;
  int64_t seeds = 0;
  std::optional<double> precision, recall;  // where the metric is an F1 of them
};

struct Row {
  const Cell* cell = nullptr;
  std::vector<std::optional<TaskScore>> scores;  // of the cell's tasks; absent: not done yet
};

// Reads what is there of the cells' results.
std::vector<Row> read_rows(const StudyPlan& plan);

// For the terminal; the best of each column has a star. With it what each factor does: the mean over all cells of a
// level, of those cells that are done.
std::string text_table(const std::vector<Row>& rows);
std::string text_effects(const std::vector<Row>& rows);
// One HTML page without other files; it links to the reports of the tasks.
std::string study_page(const std::vector<Row>& rows, const StudyPlan& plan, StudyConfig config);
// Everything, for other programs.
std::string study_json(const std::vector<Row>& rows);

}  // namespace triax::study
