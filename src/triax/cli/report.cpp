#include "triax/train/report.h"

#include <fmt/core.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "triax/base/file.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"

namespace triax::cli {
namespace {

namespace fs = std::filesystem;

struct ReportOptions {
  std::vector<std::string> folders;
  std::string output;
};

void write_report(const ReportOptions& options) {
  std::vector<RunRecord> runs;
  for (const std::string& folder : options.folders) runs.push_back(read_run(folder));
  fs::path output = options.output;
  if (output.empty())
    output =
        runs.size() == 1 ? fs::path(options.folders[0]) / "report.html" : fs::path("report.html");
  const std::string page = report_html(runs);
  write_file_atomic(output, page);
  fmt::print("wrote {} ({})\n", output.string(), format_bytes(static_cast<double>(page.size())));
}

}  // namespace

void add_report_command(Command app) {
  Command command =
      app.add_subcommand("report", "Make an HTML page of a training run, or of several compared");
  auto options = std::make_shared<ReportOptions>();
  command
      .add_option("folder", options->folders,
                   "folder of a run, as output.dir of its configuration names it")
      .required()
      .type_name("DIR");
  command
      .add_option(
          "-o,--output", options->output,
          "file to write; without it report.html in the run's folder, or here for several runs")
      .type_name("FILE");
  command.footer(
      "The page needs no network and no other file.\nExample: triax report runs/small runs/large "
      "-o compare.html");
  command.callback([options] { write_report(*options); });
}

}  // namespace triax::cli
