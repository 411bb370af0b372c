// triax convert: models from and to the files of Hugging Face.
#include <fmt/core.h>
#include <fmt/ranges.h>
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
#include "triax/base/json.h"
#include "triax/base/log.h"
#include "triax/base/progress.h"
#include "triax/base/text.h"
#include "triax/checkpoint/checkpoint.h"
#include "triax/checkpoint/elements.h"
#include "triax/cli/commands.h"
#include "triax/models/hf_bert.h"
#include "triax/models/hf_gpt2.h"
#include "triax/text/tokenizer.h"
#include "triax/train/load_model.h"
#include "triax/train/run_config.h"
#include "triax/train/state.h"

namespace triax::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 6> kTokenizerFiles = {"tokenizer.json",        "vocab.json", "merges.txt",
                                                        "tokenizer_config.json", "vocab.txt",  "special_tokens_map.json"};

struct ConvertFlags {
  std::string input, output, to, tokenizer, dtype = "f32";
};

// A model that can be read tensor by tensor, wherever it comes from.
struct Source {
  HfGpt2Config config;
  std::unique_ptr<Bert> bert;  // in its place, and read as a whole
  std::vector<NamedShape> tensors;
  RunConfig run;  // of which the model is a part
  fs::path tokenizer;  // folder; empty when the model names none
  std::function<void(const std::string& name, const Tensor& to)> read;
};

// A BERT with the heads of its pretraining, which are made anew where the file has none.
std::unique_ptr<Bert> pretraining_bert(const ModelConfig& config) {
  auto model = std::make_unique<Bert>(config, BertHeadConfig{.head = BertHead::pretraining});
  model->parameters().initialize({}, 1234);
  return model;
}

Source bert_source(std::unique_ptr<Bert> bert, RunConfig run, const fs::path& tokenizer) {
  Source source;
  source.run = std::move(run);
  source.tokenizer = tokenizer;
  for (const ParameterSpec& spec : bert->parameters().table().specs()) source.tensors.push_back({spec.name, spec.shape});
  source.read = [model = bert.get()](const std::string& name, const Tensor& to) {
    const Parameters& parameters = model->parameters();
    for (int i = 0; i < static_cast<int>(parameters.table().specs().size()); ++i)
      if (parameters.table()[i].name == name) return copy_elements(parameters.master(i).raw(), DType::f32, to.raw(), DType::f32, to.numel());
    fail("a BERT has no tensor {}", name);
  };
  source.bert = std::move(bert);
  return source;
}

bool is_hf_bert(const fs::path& directory) {
  const Json config = Json::parse_or_null(read_file(directory / "config.json"));
  return config.is_object() && config.contains("model_type") && config["model_type"].is_text() &&
         config["model_type"].text().ends_with("bert");
}

Source open_hf_bert(const fs::path& directory) {
  const HfBertConfig config = read_hf_bert_config(directory);
  auto model = pretraining_bert(config.model);
  const std::vector<std::string> missing = load_hf_bert(directory, *model);
  if (!missing.empty())
    log_warning("{} has no {}: random numbers of the usual size stand there", directory.string(), fmt::join(missing, ", "));
  RunConfig run;
  run.model = config.model;
  return bert_source(std::move(model), std::move(run), directory);
}

Source open_triax_bert(const fs::path& path) {
  const SavedBert saved = open_bert(path);
  auto model = pretraining_bert(saved.run.model);
  load_bert(saved, *model);
  return bert_source(std::move(model), saved.run, saved.tokenizer);
}

Source open_hf(const fs::path& directory) {
  if (is_hf_bert(directory)) return open_hf_bert(directory);
  auto reader = std::make_shared<HfGpt2Reader>(directory);
  Source source;
  source.config = reader->config();
  source.tokenizer = directory;
  source.run.model = source.config.model;
  source.tensors = gpt_tensors(source.config.model);
  source.read = [reader](const std::string& name, const Tensor& to) { reader->read(name, to); };
  return source;
}

Source open_triax(const fs::path& path) {
  auto reader = std::make_shared<CheckpointReader>(resolve_checkpoint(path));
  const TrainState state = train_state_from_json(reader->state(), reader->path());
  Source source;
  ConfigFields(source.run).load_text(state.config, reader->path().string() + " (its configuration)");
  if (source.run.model.is_bert()) return open_triax_bert(path);
  ModelConfig& model = source.run.model;
  model.vocab_size = reader->get("embedding.token").shape[0];  // 0 in the configuration: the tokenizer's
  model.validate();
  for (const NamedShape& tensor : gpt_tensors(model)) {
    const Shape& stored = reader->get(tensor.name).shape;
    check(stored == tensor.shape, "{}: tensor {} has shape {}, and its [model] asks for {}", reader->path().string(),
          tensor.name, stored.to_string(), tensor.shape.to_string());
  }
  source.config.model = model;
  source.tensors = gpt_tensors(model);
  source.tokenizer = state.tokenizer;
  source.read = [reader](const std::string& name, const Tensor& to) { reader->read(name, to); };
  return source;
}

Source open_source(const ConvertFlags& options) {
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
  if (source.bert) {
    copy_tokenizer(source.tokenizer, directory);
    return write_hf_bert(directory, *source.bert, {}, dtype);
  }
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
  for (const NamedShape& tensor : source.tensors) {
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

void convert(const ConvertFlags& options) {
  const DType dtype = parse_dtype(options.dtype);
  Source source = open_source(options);
  const fs::path output = (fs::path(options.output) / ".").parent_path();
  check(!fs::exists(output) || (fs::is_directory(output) && fs::is_empty(output)),
        "{}: there is something of that name already; choose another OUTPUT_DIR or remove it", output.string());
  // Everything goes to a directory of another name, which is renamed when it is whole.
  const fs::path temporary = output.string() + ".tmp-" + std::to_string(::getpid());
  fs::create_directories(temporary);
  const uint64_t bytes = static_cast<uint64_t>(source.run.model.num_parameters()) * size_of(dtype);
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
  fmt::print("wrote {}: {} parameters as {}\n", output.string(), format_count(static_cast<double>(source.run.model.num_parameters())), name_of(dtype));
}

}  // namespace

void add_convert_command(Command app) {
  Command command = app.add_subcommand("convert", "Turn a checkpoint into a GPT-2 or BERT directory of Hugging Face, or the other way round");
  auto options = std::make_shared<ConvertFlags>();
  command.add_option("INPUT", options->input, "A run, a checkpoint, or a Hugging Face directory (config.json, model.safetensors)").required();
  command.add_option("OUTPUT_DIR", options->output, "New directory; tokenizer files are copied along").required();
  command.add_option("--to", options->to, "What to write").required().one_of({"hf", "triax"});
  command.add_option("--dtype", options->dtype, "Type of the numbers written").show_default().one_of({"f32", "bf16", "f16"});
  command.add_option("--tokenizer", options->tokenizer, "Folder of the tokenizer files, where INPUT does not name it");
  command.footer("Examples:\n"
                 "  triax convert runs/demo demo-hf --to hf\n"
                 "  triax convert bert-base-uncased/ bert-start --to triax    (for checkpoint.load of `triax train`)");
  command.callback([options] { convert(*options); });
}

}  // namespace triax::cli
