// What the files of `triax tokenizer` share.
#pragma once

#include "triax/cli/command.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "triax/data/document_reader.h"

namespace triax::cli {

// The text of the documents: which files, and how they are cut.
struct DocumentFiles {
  std::vector<std::filesystem::path> files;
  std::string format = "auto";
  DocumentOptions options;
};
void add_document_options(Command app, DocumentFiles& input);

std::string read_stdin();

// Calls body(line) for every line, without its line end.
template <typename Body>
void for_each_text_line(std::string_view text, Body&& body) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    body(line);
  }
}

void add_tokenizer_train(Command parent);
// inspect and compare
void add_tokenizer_inspect(Command parent);

}  // namespace triax::cli
