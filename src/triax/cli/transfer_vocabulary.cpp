#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/cli/commands.h"
#include "triax/models/hf_vocabulary.h"

namespace triax::cli {
namespace {

namespace fs = std::filesystem;

struct TransferFlags {
  std::string model, vocabulary, output, tokenizer;
};

void run(const TransferFlags& o) {
  const fs::path output = (fs::path(o.output) / ".").parent_path();
  check(!fs::exists(output) || (fs::is_directory(output) && fs::is_empty(output)),
        "{}: there is something of that name already; choose another OUTPUT_DIR or remove it", output.string());
  const auto from = load_tokenizer(o.tokenizer.empty() ? o.model : o.tokenizer), to = load_tokenizer(o.vocabulary);
  const VocabularyMap map = map_vocabulary(*from, *to);
  const fs::path temporary = output.string() + ".tmp-" + std::to_string(::getpid());
  fs::create_directories(temporary);
  try {
    transfer_hf_vocabulary(o.model, map, *to, temporary);
    rename_durable(temporary, output);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
  fmt::print("wrote {}: {} tokens instead of {}\n", output.string(), to->vocab_size(), from->vocab_size());
  fmt::print("  {} are in both and keep their embedding\n  {} begin as the mean of {:.2f} old pieces\n", map.shared, map.split, map.mean_pieces());
  if (map.without > 0) fmt::print("  {} the old vocabulary cannot spell; they begin as the mean of all\n", map.without);
}

}  // namespace

void add_transfer_vocabulary_command(Command app) {
  Command command = app.add_subcommand("transfer-vocabulary", "Give a pretrained BERT or GPT-2 another vocabulary, to be trained on with it");
  auto o = std::make_shared<TransferFlags>();
  command.add_option("MODEL_DIR", o->model, "Hugging Face folder: config.json, weights, vocabulary").required().existing_folder();
  command.add_option("TOKENIZER", o->vocabulary, "Folder or file of the new vocabulary (triax tokenizer train)").required();
  command.add_option("OUTPUT_DIR", o->output, "New folder").required();
  command.add_option("--old-tokenizer", o->tokenizer, "Folder of the old vocabulary, where MODEL_DIR has none").type_name("DIR");
  command.footer(
      "Tokens that both vocabularies have keep their embedding; a new one begins as the mean of the old pieces it\n"
      "splits into, in the embedding and in the decoder with its bias.\n"
      "Example: triax transfer-vocabulary bert-base-cased bio-30k bert-base-bio");
  command.callback([o] { run(*o); });
}

}  // namespace triax::cli
