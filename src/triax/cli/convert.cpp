// triax convert: models from and to the files of Hugging Face.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/log.h"
#include "triax/base/progress.h"
#include "triax/base/text.h"
#include "triax/checkpoint/checkpoint.h"
#include "triax/checkpoint/elements.h"
#include "triax/cli/commands.h"
#include "triax/models/hf_gpt2.h"
#include "triax/text/tokenizer.h"
#include "triax/train/run_config.h"
#include "triax/train/state.h"

namespace triax::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 6> kTokenizerFiles = {"tokenizer.json",        "vocab.json", "merges.txt",
                                                        "tokenizer_config.json", "vocab.txt",  "special_tokens_map.json"};

struct Options {
  std::string input, output, to, tokenizer, dtype = "f32";
};

// A model that can be read tensor by tensor, wherever it comes from.
struct Source {
  HfGpt2Config config;
  RunConfig run;  // of which the model is a part
  fs::path tokenizer;  // folder; empty when the model names none
  std::function<void(const std::string& name, const Tensor& to)> read;
};

Source open_hf(const fs::path& directory) {
  auto reader = std::make_shared<HfGpt2Reader>(directory);
  Source source{.config = reader->config(), .run = {}, .tokenizer = directory, .read = {}};
  source.run.model = source.config.model;
  source.read = [reader](const std::string& name, const Tensor& to) { reader->read(name, to); };
  return source;
}

Source open_triax(const fs::path& path) {
  auto reader = std::make_shared<CheckpointReader>(resolve_checkpoint(path));
  const TrainState state = train_state_from_json(reader->state(), reader->path());
  Source source;
  ConfigFields(source.run).load_text(state.config, reader->path().string() + " (its configuration)");
  ModelConfig& model = source.run.model;
  model.vocab_size = reader->get("embedding.token").shape[0];  // 0 in the configuration: the tokenizer's
  model.validate();
  for (const NamedShape& tensor : gpt_tensors(model)) {
    const Shape& stored = reader->get(tensor.name).shape;
    check(stored == tensor.shape, "{}: tensor {} has shape {}, and its [model] asks for {}", reader->path().string(),
          tensor.name, stored.to_string(), tensor.shape.to_string());
  }
  source.config.model = model;
  source.tokenizer = state.tokenizer;
  source.read = [reader](const std::string& name, const Tensor& to) { reader->read(name, to); };
  return source;
}

Source open_source(const Options& options) {
  const fs::path input = options.input;
  check(fs::is_directory(input), "{}: there is no such directory", input.string());
  Source source = fs::exists(input / "config.json") ? open_hf(input) : open_triax(input);
  if (!options.tokenizer.empty()) source.tokenizer = options.tokenizer;
  return source;
}

// Copies the vocabulary along; a model without one cannot be used for text.
bool copy_tokenizer(const fs::path& from, const fs::path& to) {
  bool copied = false;
  for (const char* name : kTokenizerFiles)
    if (!from.empty() && fs::is_regular_file(from / name)) copied |= fs::copy_file(from / name, to / name);
  if (!copied)
    log_warning("no tokenizer files (tokenizer.json, or vocab.json and merges.txt){}; give their folder with --tokenizer",
                from.empty() ? std::string() : " in " + from.string());
  return copied;
}

void write_as_hf(Source& source, const fs::path& directory, DType dtype, Progress& progress) {
  if (copy_tokenizer(source.tokenizer, directory) && !source.config.eos_token_id) {
    const SpecialTokens special = load_tokenizer(directory)->special_tokens();
    source.config.eos_token_id = special.eod;
    source.config.bos_token_id = special.bos ? special.bos : special.eod;
  }
  write_hf_gpt2(directory, source.config, source.read, {.dtype = dtype, .progress = [&](uint64_t bytes) { progress.add(bytes); }});
}

void write_as_triax(Source& source, const fs::path& directory, const fs::path& final_directory, DType dtype,
                    Progress& progress) {
  TrainState state;
  if (copy_tokenizer(source.tokenizer, directory)) state.tokenizer = fs::absolute(final_directory).string();
  state.config = ConfigFields(source.run).print();
  std::vector<TensorPiece> pieces;
  int64_t largest = 0;
  for (const NamedShape& tensor : gpt_tensors(source.config.model)) {
    pieces.push_back(whole_piece(tensor.name, Tensor(nullptr, tensor.shape, dtype)));
    largest = std::max(largest, tensor.shape.numel());
  }
  const OwnedTensor values({largest}, DType::f32), converted({largest}, dtype);
  const CheckpointTarget target{directory, 0};
  prepare_checkpoint(target);
  write_checkpoint_pieces(target, pieces, [&](const TensorPiece& piece) {
    const Tensor wide(values.view().raw(), piece.global_shape, DType::f32);
    const Tensor data(converted.view().raw(), piece.global_shape, dtype);
    source.read(piece.name, wide);
    copy_elements(wide.raw(), DType::f32, data.raw(), dtype, data.numel());
    progress.add(data.bytes());
    return data;
  });
  publish_checkpoint(target, to_json(state));
}

void convert(const Options& options) {
  const DType dtype = parse_dtype(options.dtype);
  Source source = open_source(options);
  const fs::path output = (fs::path(options.output) / ".").parent_path();
  check(!fs::exists(output) || (fs::is_directory(output) && fs::is_empty(output)),
        "{}: there is something of that name already; choose another OUTPUT_DIR or remove it", output.string());
  // Everything goes to a directory of another name, which is renamed when it is whole.
  const fs::path temporary = output.string() + ".tmp-" + std::to_string(::getpid());
  fs::create_directories(temporary);
  const uint64_t bytes = static_cast<uint64_t>(source.config.model.num_parameters()) * size_of(dtype);
  try {
    Progress progress("converting", bytes);
    if (options.to == "hf") {
      write_as_hf(source, temporary, dtype, progress);
    } else {
      write_as_triax(source, temporary, output, dtype, progress);
    }
    rename_durable(temporary, output);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
  fmt::print("wrote {}: {} parameters as {}\n", output.string(), format_count(static_cast<double>(source.config.model.num_parameters())), name_of(dtype));
}

}  // namespace

void add_convert_command(Command app) {
  Command command = app.add_subcommand("convert", "Turn a checkpoint into a GPT-2 directory of Hugging Face, or the other way round");
  auto options = std::make_shared<Options>();
  command.add_option("INPUT", options->input, "A run, a checkpoint, or a Hugging Face directory (config.json, model.safetensors)").required();
  command.add_option("OUTPUT_DIR", options->output, "New directory; tokenizer files are copied along").required();
  command.add_option("--to", options->to, "What to write").required().one_of({"hf", "triax"});
  command.add_option("--dtype", options->dtype, "Type of the numbers written").show_default().one_of({"f32", "bf16", "f16"});
  command.add_option("--tokenizer", options->tokenizer, "Folder of the tokenizer files, where INPUT does not name it");
  command.footer("Example: triax convert runs/demo demo-hf --to hf");
  command.callback([options] { convert(*options); });
}

}  // namespace triax::cli
