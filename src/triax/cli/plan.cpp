#include <fmt/core.h>

#include <chrono>
#include <memory>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"
#include "triax/comm/launch.h"
#include "triax/comm/world.h"
#include "triax/plan/calibrate.h"
#include "triax/plan/compare.h"
#include "triax/plan/page.h"
#include "triax/plan/tables.h"
#include "triax/train/engine_plan.h"
#include "triax/train/run_directory.h"

namespace triax::cli {
namespace {

struct PlanOptions {
  std::string run, hardware = "selene", output, html, trace, compare;
  std::vector<std::string> settings, hardware_settings, keep;
  int64_t devices = 0;
  double tokens = 0;
  size_t rows = 8;
  bool evaluate_only = false, scaling = false;
};

RunConfig load_run(const PlanOptions& options) {
  RunConfig run;
  ConfigFields fields(run);
  fields.load_file(options.run);
  for (const std::string& setting : options.settings) fields.set(setting);
  if (run.train.sequence_length == 0) run.train.sequence_length = run.model.max_positions;
  check(run.model.vocab_size > 0, "{}: model.vocab_size is not known; give it with --set model.vocab_size=51200", options.run);
  run.model.validate();
  return run;
}

void print_section(const std::string& title, const std::string& body) { fmt::print("\n{}\n\n{}", title, body); }

void write_run(const PlanOptions& options, const Candidate& best, RunConfig run) {
  apply(best.plan, run);
  write_file_atomic(options.output, fmt::format("# Planned by `triax plan {} --hardware {}` for {} devices.\n# {}\n\n{}", options.run, options.hardware,
                                                best.plan.devices(), describe(best.plan), ConfigFields(run).print()));
  fmt::print("\nwrote {}: mpirun -n {} triax train {}\n", options.output, best.plan.devices(), options.output);
}

Candidate choose(const PlanOptions& options, const StepPlan& base, const Hardware& hardware, const SearchOptions& searched) {
  if (options.evaluate_only) return evaluate(base, hardware);
  const auto begin = std::chrono::steady_clock::now();
  const SearchResult result = search(base, hardware, searched);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  fmt::print("searched in {:.2f} s: {}", took.count(), ranking_table(result, hardware, options.rows));
  return evaluate(result.ranked[0].plan, hardware);
}

void plan_run(const PlanOptions& options) {
  if (!options.compare.empty()) {
    const Hardware hardware = load_hardware(options.hardware, options.hardware_settings);
    fmt::print("{}", compare_with_run(options.compare, hardware));
    if (options.trace.empty()) return;
    write_compared_trace(options.trace, options.compare, hardware);
    fmt::print("\nwrote {}: each measured rank above the simulated one; open it in ui.perfetto.dev\n", options.trace);
    return;
  }
  check(!options.run.empty(), "triax plan needs a run: triax plan configs/gpt-76b.toml --hardware selene --devices 1024");
  const RunConfig run = load_run(options);
  const Hardware hardware = load_hardware(options.hardware, options.hardware_settings);
  SearchOptions searched;
  const int64_t named = run.parallel.tensor_parallel * run.parallel.pipeline_parallel * run.parallel.data_parallel;
  searched.devices = options.devices > 0 ? options.devices : options.evaluate_only && named > 0 ? named : hardware.devices();
  searched.keep.insert(options.keep.begin(), options.keep.end());
  StepPlan base = plan_of(run, searched.devices);
  if (options.evaluate_only && hardware.device.kind == "cpu" && base.pipeline_parallel > 1 && base.stage_layers.empty()) {
    RunConfig trained = run;  // as the trainer cuts it
    trained.resolve(static_cast<int>(base.devices()));
    base.stage_layers = plan_engine(trained.engine(), {}).stage_layers;
  }
  fmt::print("{}: {} parameters, s {}, global batch {}; {} x {} ({})\n", options.run, format_count(static_cast<double>(run.model.num_parameters())),
             base.sequence_length, base.global_batch_size, options.evaluate_only ? base.devices() : searched.devices, hardware.device.name, options.hardware);
  const Candidate best = choose(options, base, hardware, searched);
  const bool fits = best.memory_bytes <= hardware.device.memory_bytes;
  fmt::print("\n{}: {}\n", options.evaluate_only ? "this run" : "best", describe(best.plan));
  print_section("where the time of a step goes (mean of the stages)", time_table(best));
  print_section("memory of a device", memory_table(best, hardware));
  if (!fits) {
    std::string text;
    for (const std::string& remedy : remedies(best, hardware)) text += "  " + remedy + "\n";
    print_section(fmt::format("does not fit: {} of {}; what would help", format_bytes(best.memory_bytes), format_bytes(hardware.device.memory_bytes)),
                  text.empty() ? "  nothing next to it: search (without --evaluate), or take more devices\n" : text);
  }
  const std::vector<std::string> reasons = explain(best, hardware);
  std::string why;
  for (const std::string& reason : reasons) why += "  " + reason + "\n";
  print_section(options.evaluate_only ? "other choices beside it" : "why this one", why);
  const double tokens = options.tokens > 0 ? options.tokens : static_cast<double>(run.train.steps * base.global_batch_size * base.sequence_length);
  const RunForecast whole = forecast(best.plan, best.step, hardware, tokens);
  print_section("the whole run", forecast_table(whole, best));
  std::vector<ScalingPoint> strong, weak;
  if (options.scaling || !options.html.empty()) {
    strong = scaling(base, hardware, searched, false);
    weak = scaling(base, hardware, searched, true);
  }
  if (options.scaling) {
    print_section("strong scaling: the same batch on more devices", scaling_table(strong));
    print_section("weak scaling: the batch grows with the devices", scaling_table(weak));
  }
  if (!options.output.empty()) write_run(options, best, run);
  if (!options.html.empty()) {
    const std::string page = plan_page({options.run, options.hardware, best, hardware, whole, reasons, strong, weak});
    write_file_atomic(options.html, page);
    fmt::print("\nwrote {} ({})\n", options.html, format_bytes(static_cast<double>(page.size())));
  }
  if (!options.trace.empty()) {
    write_simulated_trace(options.trace, best.plan, hardware);
    fmt::print("\nwrote {}: open it in ui.perfetto.dev\n", options.trace);
  }
}

struct CalibrateOptions {
  std::string run, output = "this-machine.toml";
  std::vector<std::string> settings;
  double seconds = 30;
  int nproc = 0;
};

int calibrate_machine(const CalibrateOptions& options, World& world) {
  if (world.rank() == 0) fmt::print(stderr, "measuring {} rank{}, about {:.0f} s\n", world.size(), world.size() == 1 ? "" : "s", options.seconds);
  const double layers = options.run.empty() ? 0 : 0.7 * options.seconds;
  Hardware hardware = calibrate(world, options.seconds - layers);
  if (!options.run.empty()) {
    PlanOptions named;
    named.run = options.run, named.settings = options.settings;
    RunConfig run = load_run(named);
    run.parallel = {};
    run.train.global_batch_size = run.train.micro_batch_size;
    run.train.batch_ramp_start = 0;
    run.resolve();
    profile_layers(world, run, layers, hardware);
  }
  if (world.rank() != 0) return 0;
  std::string date;
  for (const auto& [name, value] : machine_facts())
    if (name == "started") date = value;
  const std::string title = fmt::format("# Measured by `triax plan calibrate` with {} rank{} on {}, {}.\n# Not measured are prices, power, storage and failures, and, "
                                        "of one rank or host, what is between them: set them.\n\n",
                                        world.size(), world.size() == 1 ? "" : "s", world.host(), date);
  write_file_atomic(options.output, title + ConfigFields(hardware).print(true));
  fmt::print("{}\n  matrix products  {:.1f} GFLOP/s at best\n  memory           {:.1f} GB/s\n", hardware.device.name, hardware.device.peak_flops * 1e-9,
             hardware.device.memory_bandwidth * 1e-9);
  if (world.size() > 1)
    fmt::print("  between ranks    {:.2f} GB/s, {:.1f} us\n", hardware.node.link_bandwidth * 1e-9, hardware.node.link_latency * 1e6);
  for (size_t i = 0; i < hardware.profile.tensor_parallel.size(); ++i)
    fmt::print("  a layer, t = {}    {:.2f} ms forward, {:.2f} ms backward\n", hardware.profile.tensor_parallel[i], 1e3 * hardware.profile.layer_forward[i],
               1e3 * hardware.profile.layer_backward[i]);
  if (const std::vector<double>& slowdown = hardware.device.share_slowdown; !slowdown.empty() && world.size() > 1)
    fmt::print("  one rank alone    {:.2f} times as fast as beside {} others\n", 1 / slowdown[0], world.local_size() - 1);
  fmt::print("wrote {}: triax plan run.toml --hardware {}\n", options.output, options.output);
  return 0;
}

void add_calibrate_command(Command plan) {
  Command command = plan.add_subcommand("calibrate", "Measure this machine and write a hardware file");
  auto options = std::make_shared<CalibrateOptions>();
  command.add_option("run", options->run, "run whose model's layers are measured too").type_name("FILE");
  command.add_option("-o,--output", options->output, "hardware file to write").show_default().type_name("FILE");
  command.add_option("--set", options->settings, "change a key of the run").type_name("KEY=VALUE").repeatable();
  command.add_option("--seconds", options->seconds, "how long to measure, of which the run's layers take most").show_default().positive();
  command.add_option("--nproc", options->nproc, "start so many ranks on this machine, as `triax train --nproc` does").positive();
  command.footer(
      "Start it as you would start training, so that ranks share the machine in the same way.\n"
      "Examples:\n"
      "  triax plan calibrate configs/gpt2-124m.toml -o mine.toml\n"
      "  triax plan calibrate configs/gpt2-124m.toml --nproc 2 -o mine-2.toml");
  command.callback([options] {
    if (options->nproc > 0) relaunch_under_mpirun(options->nproc, own_arguments_without("--nproc"));
    run_ranks({}, [&](World& world) { return calibrate_machine(*options, world); });
  });
}

}  // namespace

void add_plan_command(Command app) {
  Command command = app.add_subcommand("plan", "Predict a run on a cluster: does it fit, which grid, how long, how much");
  auto options = std::make_shared<PlanOptions>();
  command.add_option("run", options->run, "TOML file of the run").type_name("FILE");
  command.add_option("--hardware", options->hardware, "hardware file, or the name of one in configs/hardware").show_default();
  command.add_option("--devices", options->devices, "devices to use; without it all that the hardware has");
  command.add_option("--set", options->settings, "change a key of the run, as in train.global_batch_size=1536").type_name("KEY=VALUE").repeatable();
  command.add_option("--set-hardware", options->hardware_settings, "change a key of the hardware, as in network.nodes=4").type_name("KEY=VALUE").repeatable();
  command.add_option("--keep", options->keep, "do not search this key but keep the run's value, as in train.recompute").type_name("KEY").repeatable();
  command.add_flag("--evaluate", options->evaluate_only, "predict the grid of the run as it is, without searching");
  command.add_option("--tokens", options->tokens, "of the whole run; without it train.steps").positive();
  command.add_option("--rows", options->rows, "grids to show").show_default();
  command.add_flag("--scaling", options->scaling, "also the best grids on fewer and more devices");
  command.add_option("-o,--output", options->output, "write the run with the best grid").type_name("FILE");
  command.add_option("--html", options->html, "write a page with the timeline, memory and scaling").type_name("FILE");
  command.add_option("--trace", options->trace, "write the simulated step as a Chrome trace; with --compare, beside the measured one").type_name("FILE");
  command.add_option("--compare", options->compare, "hold the prediction against a finished run, rank by rank").type_name("DIR");
  add_calibrate_command(command);
  command.footer(
      "Examples:\n"
      "  triax plan configs/gpt-145b.toml --hardware selene --devices 1536 --tokens 300e9 -o planned.toml\n"
      "  triax plan configs/gpt-1t.toml --devices 3072 --html plan.html --trace plan-trace.json\n"
      "  triax plan run.toml --hardware dgx-h100 --evaluate --set parallel.tensor_parallel=8\n"
      "  triax plan --compare runs/quickstart --hardware mine.toml --trace both.json");
  command.callback([options, command] {
    if (!command.has_subcommand()) plan_run(*options);
  });
}

}  // namespace triax::cli
