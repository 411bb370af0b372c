#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/parallel.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"
#include "triax/generate/generator.h"
#include "triax/kernels/device_queue.h"
#include "triax/train/load_model.h"

namespace triax::cli {
namespace {

struct GenerateFlags {
  std::string model, tokenizer, prompt_file;
  std::vector<std::string> prompts;
  GenerateOptions generate;
  int64_t samples = 1;
  bool greedy = false, log_probabilities = false, bf16 = false, no_echo = false;
  Device::Kind device = Device::Kind::cpu;
};

std::vector<std::string> all_prompts(const GenerateFlags& options) {
  std::vector<std::string> prompts = options.prompts;
  if (!options.prompt_file.empty()) {
    for (std::string& line : split(read_file(options.prompt_file), '\n'))
      if (!trim(line).empty()) prompts.push_back(std::move(line));
  }
  if (prompts.empty()) prompts.emplace_back();
  std::vector<std::string> repeated;
  for (const std::string& prompt : prompts)
    for (int64_t i = 0; i < options.samples; ++i) repeated.push_back(prompt);
  return repeated;
}

void print_log_probabilities(const Generation& made, const Tokenizer& tokenizer) {
  double total = 0;
  for (size_t i = 0; i < made.tokens.size(); ++i) {
    fmt::print("{:10.4f}  {}\n", made.log_probabilities[i], tokenizer.token_text(made.tokens[i]));
    total += static_cast<double>(made.log_probabilities[i]);
  }
  fmt::print("{:10.4f}  in all, over {} tokens\n", total, made.tokens.size());
}

void run(GenerateFlags options) {
  if (options.greedy) options.generate.sampling.temperature = 0;
  const std::unique_ptr<DeviceQueue> queue = make_queue({options.device, 0}, "--device cuda", "--device cpu");
  const Context context = queue ? queue->context() : Context{};
  const LoadedGpt loaded = load_gpt(options.model, options.tokenizer, options.bf16 ? DType::bf16 : DType::f32, context);
  const Generator generator(*loaded.model, *loaded.tokenizer, context);
  const std::vector<std::string> prompts = all_prompts(options);
  // One sequence is shown as it grows; several are shown whole, one after the other.
  const bool streams = prompts.size() == 1;
  if (streams && !options.no_echo) fmt::print("{}", prompts[0]);
  const auto show = [&](size_t, std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  const std::vector<Generation> made =
      streams ? generator.generate(prompts, options.generate, show)
              : generator.generate(prompts, options.generate);
  if (streams) fmt::print("\n");
  for (size_t i = 0; i < made.size(); ++i) {
    if (!streams)
      fmt::print("[{}] {}{}\n\n", i + 1, options.no_echo ? "" : prompts[i], made[i].text);
    if (options.log_probabilities) print_log_probabilities(made[i], *loaded.tokenizer);
  }
}

}  // namespace

void add_generate_command(Command app) {
  Command command = app.add_subcommand("generate", "Write text with a trained GPT");
  auto o = std::make_shared<GenerateFlags>();
  command.add_option("model", o->model, "a checkpoint, or the folder of a run (its newest checkpoint)")
      .required().type_name("DIR");
  command.add_option("-p,--prompt", o->prompts, "how the text begins; several are continued together")
      .repeatable();
  command.add_option("--prompt-file", o->prompt_file, "a file with one prompt a line").type_name("FILE");
  command.add_option("--tokenizer", o->tokenizer, "vocabulary, if not the one the model was trained with")
      .type_name("DIR");
  command.add_option("-n,--max-tokens", o->generate.max_tokens, "tokens to write")
      .positive().show_default();
  command.add_option("--samples", o->samples, "texts a prompt").positive().show_default();
  command.add_flag("--greedy", o->greedy, "always the most likely token");
  SamplingOptions& s = o->generate.sampling;
  s.temperature = 0.8;
  command.add_option("--temperature", s.temperature, "below 1 safer, above 1 wilder; 0 is greedy")
      .non_negative().show_default();
  command.add_option("--top-k", s.top_k, "only the k most likely tokens; 0 is all")
      .non_negative().show_default();
  command.add_option("--top-p", s.top_p, "only the most likely tokens that make up this probability")
      .between(0.0, 1.0).show_default();
  command.add_option("--repetition-penalty", s.repetition_penalty, "above 1: avoid tokens that occurred")
      .positive().show_default();
  command.add_option("--seed", o->generate.seed, "the same seed gives the same text").show_default();
  command.add_option("--stop", o->generate.stop, "end before this text; may be given many times")
      .repeatable();
  command.add_flag("!--ignore-end", o->generate.stop_at_end_of_document,
                    "go on past the end-of-document token");
  command.add_flag("--log-probs", o->log_probabilities, "show the log-probability of each token");
  command.add_flag("--no-echo", o->no_echo, "do not show the prompt");
  command.add_flag("--bf16", o->bf16, "compute in bf16");
  command.add_choice("--device", o->device, {{"cpu", Device::Kind::cpu}, {"cuda", Device::Kind::cuda}}, "where to compute");
  command.footer("Examples:\n"
                  "  triax generate runs/quickstart -p \"In the beginning\"\n"
                  "  triax generate runs/quickstart -p \"And he said\" --samples 3 --top-p 0.9 --seed 7\n"
                  "  triax generate runs/gpt2 -p \"In the beginning\" --device cuda --bf16");
  command.callback([o] { run(*o); });
}

}  // namespace triax::cli
