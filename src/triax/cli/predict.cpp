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
#include "triax/finetune/model_folder.h"
#include "triax/finetune/predict.h"
#include "triax/tasks/records.h"

namespace triax::cli {
namespace {

using namespace finetune;

struct PredictFlags {
  std::string model, input, output, official, precision;
  int64_t tokens = 4096, lines = 64;
  bool skip_bad = false;
};

void predict_file(const TunedModel& tuned, const PredictFlags& o) {
  const auto set = tuned.task->read(o.input, false);
  for (const std::string& note : set->notes) log_info("{}", note);
  tasks::warn_left_out(set->bad, o.input);
  BatchMemory memory;
  Progress progress("predicting", set->examples.size(), {.unit = "examples"});
  const auto logits = predict_all(*tuned.model, set->examples, o.tokens, memory, [&](uint64_t done) { progress.update(done); });
  progress.finish();
  const std::string lines = tuned.task->predictions(*set, logits);
  if (o.output.empty()) std::fwrite(lines.data(), 1, lines.size(), stdout);
  else write_file_atomic(o.output, lines);
  if (!o.official.empty()) write_file_atomic(o.official, tuned.task->official_predictions(*set, logits).second);
}

// JSON lines from standard input, answered a few at a time: as many as are there, up to o.lines.
void predict_stream(const TunedModel& tuned, const PredictFlags& o) {
  check(o.official.empty(), "--official needs the whole input: name a file");
  check(o.output.empty(), "-o needs an input file; a stream is answered on standard output");
  BatchMemory memory;
  std::string chunk, line;
  int64_t count = 0;
  const auto answer = [&] {
    if (count == 0) return;
    const auto set = tuned.task->parse(chunk, "standard input", false);
    tasks::warn_left_out(set->bad, "standard input");
    const std::string lines = tuned.task->predictions(*set, predict_all(*tuned.model, set->examples, o.tokens, memory));
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

void run(const PredictFlags& o) {
  check(o.tokens >= 1, "--tokens {}: must be positive", o.tokens);
  check(o.lines >= 1, "--lines {}: must be positive", o.lines);
  check(o.precision.empty() || o.precision == "fp32" || o.precision == "bf16" || o.precision == "fp16", "--precision {}: fp32, bf16 or fp16", o.precision);
  std::optional<Precision> precision;
  if (!o.precision.empty()) precision = o.precision == "bf16" ? Precision::bf16 : o.precision == "fp16" ? Precision::fp16 : Precision::fp32;
  TunedModel tuned = load_tuned_model(o.model, precision);
  if (o.skip_bad) {
    tuned.options.data.skip_bad = true;
    tuned.task = make_task(tuned.options, *tuned.tokenizer, tuned.task->labels());
  }
  o.input.empty() || o.input == "-" ? predict_stream(tuned, o) : predict_file(tuned, o);
}

}  // namespace

void add_predict_command(Command app) {
  Command command = app.add_subcommand("predict", "Answer new input with a model that `triax finetune` made");
  auto o = std::make_shared<PredictFlags>();
  command.add_option("model", o->model, "folder of the model: seed-<n>/best of a run").required().existing_folder().type_name("DIR");
  command.add_option("input", o->input, "JSON lines, or a file as it was trained on; without it, JSON lines from standard input, answered as they come").type_name("FILE");
  command.add_option("-o,--output", o->output, "JSON lines to write; without it, standard output").type_name("FILE");
  command.add_option("--official", o->official, "also write the form that the benchmark's scorer (`triax score`) reads").type_name("FILE");
  command.add_option("--tokens", o->tokens, "tokens computed at a time").type_name("N").show_default();
  command.add_option("--precision", o->precision, "fp32, fp16, or bf16, which is faster on processors that have it; without it, as the model was tuned").type_name("P");
  command.add_option("--lines", o->lines, "lines of standard input answered at a time, at most").type_name("N").show_default();
  command.add_flag("--skip-bad", o->skip_bad, "leave out bad records, and count them");
  command.footer(
      "JSON lines have \"text\" (or \"words\") for entities, \"question\" and \"context\" for answers, and the fields the\n"
      "model was tuned with for all else.\n"
      "Examples:\n"
      "  triax predict runs/ner/seed-1/best test.tsv --official predicted.tsv > predicted.jsonl\n"
      "  echo '{\"text\": \"Aspirin helps.\"}' | triax predict runs/ner/seed-1/best");
  command.callback([o] { run(*o); });
}

}  // namespace triax::cli
