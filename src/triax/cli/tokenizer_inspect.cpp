// triax tokenizer inspect and compare: what vocabularies make of text, names and words.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/text.h"
#include "triax/cli/tokenizer_commands.h"
#include "triax/text/tokenizer.h"

namespace triax::cli {
namespace {

namespace fs = std::filesystem;

struct TokenizerInspectOptions {
  std::vector<fs::path> tokenizers;
  std::vector<std::string> words;
  fs::path word_list;
  std::vector<fs::path> files;
};

struct TextStatistics {
  uint64_t bytes = 0, characters = 0, words = 0, tokens = 0;
  uint64_t whole_words = 0;  // that are one token, with the space before them
};

void add_text(const Tokenizer& tokenizer, std::string_view text, TextStatistics& statistics) {
  std::vector<int32_t> ids;
  tokenizer.encode(text, ids);
  statistics.bytes += text.size();
  statistics.tokens += ids.size();
  for (const char c : text) statistics.characters += (c & 0xC0) != 0x80;
  std::string spaced;
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  for (size_t begin = text.find_first_not_of(kSpace); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
    ++statistics.words;
    spaced.assign(1, ' ');
    spaced += text.substr(begin, end - begin);
    ids.clear();
    tokenizer.encode(spaced, ids);
    statistics.whole_words += ids.size() == 1;
    begin = text.find_first_not_of(kSpace, end);
  }
}

std::string split_word(const Tokenizer& tokenizer, const std::string& word) {
  std::string out;
  for (const int32_t id : tokenizer.encode(" " + word)) {
    if (!out.empty()) out += " | ";
    out += trim(tokenizer.decode({{id}}));
  }
  return out;
}

void print_row(std::string_view label, const std::vector<std::string>& cells) {
  std::string line = fmt::format("{:<22}", label);
  for (const std::string& cell : cells) line += fmt::format("  {:>18}", cell);
  fmt::print("{}\n", line);
}

// JSON lines as documents; any other file, and standard input, as it is.
std::vector<std::string> texts_to_measure(const std::vector<fs::path>& files) {
  std::vector<std::string> texts;
  for (const fs::path& file : files) {
    fs::path name = file.filename();
    if (name.extension() == ".gz" || name.extension() == ".zst") name.replace_extension();
    const bool known = name.extension() == ".jsonl" || name.extension() == ".txt" || name.extension() == ".md";
    if (!known) texts.push_back(file == "-" ? read_stdin() : read_file(file));
    if (known) for_each_document({file}, {}, [&](const Document& document) { texts.emplace_back(document.text); });
  }
  return texts;
}

// Tokens of names, as Shin et al. 2020 (BioMegatron), table 3, counts them: those of names, and by the words in them.
struct NameStatistics {
  size_t names = 0, words = 0, tokens = 0, whole = 0;
};

NameStatistics measure_names(const Tokenizer& tokenizer, std::string_view list) {
  NameStatistics statistics;
  for_each_text_line(list, [&](std::string_view line) {
    const std::string_view name = trim(line);
    if (name.empty()) return;
    const size_t tokens = tokenizer.encode(" " + std::string(name)).size();
    ++statistics.names;
    statistics.tokens += tokens;
    statistics.whole += tokens == 1;
    for (size_t i = 0; i < name.size(); ++i) statistics.words += name[i] != ' ' && (i == 0 || name[i - 1] == ' ');
  });
  return statistics;
}

void inspect(const TokenizerInspectOptions& options) {
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  for (const fs::path& path : options.tokenizers) tokenizers.push_back(load_tokenizer(path));
  const auto row = [&](std::string_view label, auto&& cell) {
    std::vector<std::string> cells;
    for (size_t i = 0; i < tokenizers.size(); ++i) cells.push_back(cell(i));
    print_row(label, cells);
  };
  row("tokenizer", [&](size_t i) {
    const fs::path& path = options.tokenizers[i];
    return (path.has_filename() ? path : path.parent_path()).filename().string();
  });
  row("kind", [&](size_t i) { return std::string(tokenizers[i]->kind()); });
  row("vocabulary size", [&](size_t i) { return fmt::format("{}", tokenizers[i]->vocab_size()); });
  row("end of document", [&](size_t i) {
    const auto eod = tokenizers[i]->special_tokens().eod;
    return eod ? fmt::format("{} ({})", tokenizers[i]->token_text(*eod), *eod) : "none";
  });
  if (!options.files.empty()) {
    std::vector<TextStatistics> statistics(tokenizers.size());
    for (const std::string& text : texts_to_measure(options.files))
      for (size_t i = 0; i < tokenizers.size(); ++i) add_text(*tokenizers[i], text, statistics[i]);
    const auto ratio = [](uint64_t a, uint64_t b) {
      return b == 0 ? "-" : fmt::format("{:.3f}", static_cast<double>(a) / static_cast<double>(b));
    };
    row("bytes of text", [&](size_t i) { return fmt::format("{}", statistics[i].bytes); });
    row("tokens", [&](size_t i) { return fmt::format("{}", statistics[i].tokens); });
    row("bytes per token", [&](size_t i) { return ratio(statistics[i].bytes, statistics[i].tokens); });
    row("characters per token", [&](size_t i) { return ratio(statistics[i].characters, statistics[i].tokens); });
    row("tokens per word", [&](size_t i) { return ratio(statistics[i].tokens, statistics[i].words); });
    row("words of one token", [&](size_t i) {
      return fmt::format("{:.1f} %", statistics[i].words == 0 ? 0.0 : 100.0 * static_cast<double>(statistics[i].whole_words) /
                                                                          static_cast<double>(statistics[i].words));
    });
  }
  if (!options.word_list.empty()) {
    const std::string list = read_file(options.word_list);
    std::vector<NameStatistics> names;
    for (const auto& tokenizer : tokenizers) names.push_back(measure_names(*tokenizer, list));
    check(names[0].names > 0, "{}: holds no words", options.word_list.string());
    const auto ratio = [](size_t a, size_t b) { return static_cast<double>(a) / static_cast<double>(std::max<size_t>(b, 1)); };
    row("names in the list", [&](size_t i) { return fmt::format("{}", names[i].names); });
    row("tokens per name", [&](size_t i) { return fmt::format("{:.3f}", ratio(names[i].tokens, names[i].names)); });
    row("tokens per word of it", [&](size_t i) { return fmt::format("{:.3f}", ratio(names[i].tokens, names[i].words)); });
    row("names of one token", [&](size_t i) { return fmt::format("{:.1f} %", 100 * ratio(names[i].whole, names[i].names)); });
  }
  for (const std::string& word : options.words) {
    fmt::print("\n{}\n", word);
    for (size_t i = 0; i < tokenizers.size(); ++i)
      fmt::print("  {:<20}  {}\n", options.tokenizers[i].string(), split_word(*tokenizers[i], word));
  }
}

void add_inspect_options(Command app, const std::shared_ptr<TokenizerInspectOptions>& options) {
  app.add_option("--word,-w", options->words, "show how this word splits; may be given several times").repeatable();
  app.add_option("--words", options->word_list, "a file of words or names, one a line: tokens each takes").existing_file();
  app.callback([options] { inspect(*options); });
}

void add_inspect(Command parent) {
  auto options = std::make_shared<TokenizerInspectOptions>();
  Command app = parent.add_subcommand("inspect", "Show a vocabulary: size, compression of a text, how words split");
  app.add_option("--tokenizer,-t", options->tokenizers, "several to see them side by side").required().repeatable();
  app.add_option("files", options->files, "text to measure on; JSON lines in the field \"text\"");
  add_inspect_options(app, options);
  app.footer("Example: triax tokenizer inspect -t gpt2 -t vocab -w naloxone -w adrenocorticotropin articles.txt");
}

void add_compare(Command parent) {
  auto options = std::make_shared<TokenizerInspectOptions>();
  Command app = parent.add_subcommand("compare", "Show several vocabularies side by side on the same text");
  app.add_option("tokenizers", options->tokenizers, "folders or files of vocabularies").required();
  app.add_option("--text", options->files, "text to measure on; may be given several times").repeatable();
  add_inspect_options(app, options);
  app.footer("Example: triax tokenizer compare gpt2 vocab --text articles.jsonl --words drugs.txt -w naloxone");
}

}  // namespace

void add_tokenizer_inspect(Command parent) {
  add_compare(parent);
  add_inspect(parent);
}

}  // namespace triax::cli
