#include <fmt/core.h>

#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/log.h"
#include "triax/base/progress.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"
#include "triax/comm/world.h"
#include "triax/finetune/model_folder.h"
#include "triax/finetune/predict.h"
#include "triax/kernels/device_queue.h"
#include "triax/tasks/records.h"
#include "triax/tensor/device.h"

namespace triax::cli {
namespace {

using namespace finetune;

struct PredictFlags {
  std::string model, input, output, official;
  TunedModelOptions load;
  int64_t lines = 64;
  bool skip_bad = false;
};

// Ranks share the work; the first one speaks and writes.
void predict_file(const TunedModel& tuned, const PredictFlags& o, bool speaks) {
  const auto set = tuned.task->read(o.input, false);
  std::optional<Progress> progress;
  if (speaks) {
    for (const std::string& note : set->notes) log_info("{}", note);
    tasks::warn_left_out(set->bad, o.input);
    progress.emplace("predicting", set->examples.size(), ProgressOptions{.unit = "examples"});
  }
  const auto logits = predict_all(*tuned.engine, set->examples, o.load.tokens, [&](uint64_t done) { if (progress) progress->update(done); });
  if (!speaks) return;
  progress->finish();
  const std::string lines = tuned.task->predictions(*set, logits);
  if (o.output.empty()) std::fwrite(lines.data(), 1, lines.size(), stdout);
  else write_file_atomic(o.output, lines);
  if (!o.official.empty()) write_file_atomic(o.official, tuned.task->official_predictions(*set, logits).second);
}

// JSON lines from standard input, answered a few at a time: as many as are there, up to o.lines.
void predict_stream(const TunedModel& tuned, const PredictFlags& o) {
  check(o.official.empty(), "--official needs the whole input: name a file");
  check(o.output.empty(), "-o needs an input file; a stream is answered on standard output");
  std::string chunk, line;
  int64_t count = 0;
  const auto answer = [&] {
    if (count == 0) return;
    const auto set = tuned.task->parse(chunk, "standard input", false);
    tasks::warn_left_out(set->bad, "standard input");
    const std::string lines = tuned.task->predictions(*set, predict_all(*tuned.engine, set->examples, o.load.tokens));
    std::fwrite(lines.data(), 1, lines.size(), stdout);
    std::fflush(stdout);
    chunk.clear();
    count = 0;
  };
  while (std::getline(std::cin, line)) {
    if (is_blank(line)) continue;
    chunk += line + "\n";
    if (++count == o.lines || std::cin.rdbuf()->in_avail() <= 0) answer();
  }
  answer();
}

void run(const PredictFlags& o, World& world) {
  const bool speaks = world.rank() == 0, streams = o.input.empty() || o.input == "-";
  if (!speaks) set_log_prefix(fmt::format("rank {}", world.rank()));
  check(o.load.tokens >= 1, "--tokens {}: must be positive", o.load.tokens);
  check(o.lines >= 1, "--lines {}: must be positive", o.lines);
  check(world.size() == 1 || !streams, "standard input is answered by one rank: name a file, or leave out mpirun (srun)");
  check(o.load.precision != Precision::tf32 || o.load.device.kind == Device::Kind::cuda,
        "--precision tf32 is a way of GPUs to multiply and needs --device cuda; a CPU has --precision fp32");
  auto queue = make_queue(device_of_rank(o.load.device.kind, world.local_rank()), "--device cuda", "--device cpu");
  std::unique_ptr<ProcessGrid> grid;
  if (world.size() > 1) grid = std::make_unique<ProcessGrid>(world, GridShape{.data_parallel = world.size()});
  TunedModel tuned = load_tuned_model(o.model, o.load, grid.get(), std::move(queue));
  if (o.skip_bad) {
    tuned.options.data.skip_bad = true;
    tuned.task = make_task(tuned.options, *tuned.tokenizer, tuned.task->labels());
  }
  streams ? predict_stream(tuned, o) : predict_file(tuned, o, speaks);
}

}  // namespace

void add_predict_command(Command app) {
  Command command = app.add_subcommand("predict", "Answer new input with a model that `triax finetune` made");
  auto o = std::make_shared<PredictFlags>();
  command.add_option("model", o->model, "folder of the model: seed-<n>/best of a run").required().existing_folder().type_name("DIR");
  command.add_option("input", o->input, "JSON lines, or a file as it was trained on; without it, JSON lines from standard input, answered as they come").type_name("FILE");
  command.add_option("-o,--output", o->output, "JSON lines to write; without it, standard output").type_name("FILE");
  command.add_option("--official", o->official, "also write the form that the benchmark's scorer (`triax score`) reads").type_name("FILE");
  command.add_option("--tokens", o->load.tokens, "tokens computed at a time: bounds memory, changes no result").type_name("N").show_default();
  command.add_choice("--precision", o->load.precision, {{"fp32", Precision::fp32}, {"bf16", Precision::bf16}, {"fp16", Precision::fp16}, {"tf32", Precision::tf32}},
                     "bf16 is faster on processors that have it, tf32 is for GPUs; without it, as the model was tuned");
  command.add_choice("--device", o->load.device.kind, {{"cpu", Device::Kind::cpu}, {"cuda", Device::Kind::cuda}}, "where to compute");
  command.add_option("--lines", o->lines, "lines of standard input answered at a time, at most").type_name("N").show_default();
  command.add_flag("--skip-bad", o->skip_bad, "leave out bad records, and count them");
  command.footer(
      "JSON lines have \"text\" (or \"words\") for entities, \"question\" and \"context\" for answers, and the fields the\n"
      "model was tuned with for all else.\n"
      "Examples:\n"
      "  triax predict runs/ner/seed-1/best test.tsv --official predicted.tsv > predicted.jsonl\n"
      "  echo '{\"text\": \"Aspirin helps.\"}' | triax predict runs/ner/seed-1/best\n"
      "  mpirun -n 4 triax predict runs/ner/seed-1/best new.jsonl -o tagged.jsonl     # shared by four ranks");
  command.callback([o] {
    run_ranks({}, [&](World& world) {
      run(*o, world);
      return 0;
    });
  });
}

}  // namespace triax::cli
