#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <map>
#include <new>
#include <string>

#include "triax/base/log.h"
#include "triax/cli/commands.h"
#include "triax/cli/usage.h"

namespace {

constexpr int kFailed = 1;  // the work could not be done
constexpr int kUsage = 2;   // the command line is wrong

int fail_with(const std::string& message, int status) {
  std::fflush(stdout);
  std::fprintf(stderr, "triax: error: %s\n", message.c_str());
  return status;
}

void set_log_level(const std::string& name) {
  using triax::LogLevel;
  static const std::map<std::string, LogLevel> kLevels = {{"debug", LogLevel::debug},
                                                          {"info", LogLevel::info},
                                                          {"warning", LogLevel::warning},
                                                          {"error", LogLevel::error},
                                                          {"off", LogLevel::off}};
  triax::set_log_level(kLevels.at(name));
}

void add_global_options(CLI::App& app) {
  app.set_version_flag("--version", "triax " TRIAX_VERSION);
  app.add_option_function<std::string>("--log-level", set_log_level,
                                       "how much to tell on standard error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error", "off"}))
      ->trigger_on_parse();  // before the command runs
}

void add_commands(triax::cli::Command app) {
  using namespace triax::cli;
  add_bench_command(app);
  add_checkpoint_command(app);
  add_cite_command(app);
  add_completion_command(app);
  add_config_command(app);
  add_convert_command(app);
  add_finetune_command(app);
  add_generate_command(app);
  add_info_command(app);
  add_pack_command(app);
  add_plan_command(app);
  add_predict_command(app);
  add_report_command(app);
  add_score_command(app);
  add_study_command(app);
  add_tokenizer_command(app);
  add_train_command(app);
  add_transfer_vocabulary_command(app);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"triax: trains large language models on CPU clusters and GPUs, without Python",
               "triax"};
  app.require_subcommand(0, 1);  // none: help
  app.fallthrough();             // global options are understood after the subcommand too
  app.get_formatter()->column_width(34);
  add_global_options(app);
  add_commands(triax::cli::Command(app));
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) std::fputs(app.help().c_str(), stdout);
    return 0;
  } catch (const CLI::Success& answer) {  // --help, --version
    return app.exit(answer);
  } catch (const CLI::ParseError& error) {
    const CLI::App& command = triax::cli::deepest_command(app);
    const bool nothing_chosen =
        error.get_name() == "RequiredError" && app.remaining(true).empty() &&
        !command.get_subcommands([](const CLI::App*) { return true; }).empty();
    if (nothing_chosen)
      std::fputs(command.help(triax::cli::full_name(*command.get_parent())).c_str(), stdout);
    return nothing_chosen ? 0 : fail_with(triax::cli::usage_error(app, error), kUsage);
  } catch (const std::bad_alloc&) {
    return fail_with("out of memory", kFailed);
  } catch (const std::exception& error) {
    return fail_with(error.what(), kFailed);
  }
}
