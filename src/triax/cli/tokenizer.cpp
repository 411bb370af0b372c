// triax tokenizer: text into ids and back, vocabularies in other forms. train, inspect and compare are in files of their own.
#include "triax/text/tokenizer.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/parallel.h"
#include "triax/cli/commands.h"
#include "triax/cli/tokenizer_commands.h"

namespace triax::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// --- Input and output ---

// The contents of the files, or of standard input where there are none.
std::vector<std::string> read_inputs(const std::vector<fs::path>& files) {
  std::vector<std::string> texts;
  for (const fs::path& file : files) texts.push_back(file == "-" ? read_stdin() : read_file(file));
  if (files.empty()) texts.push_back(read_stdin());
  return texts;
}

void write_stdout(std::string_view text) {
  check(std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0,
        "cannot write to standard output");
}

// --- encode and decode ---

struct CodeOptions {
  fs::path tokenizer;
  std::vector<fs::path> files;
  bool lines = false;
  bool special = false;
  bool tokens = false;
};

void append_encoded(const Tokenizer& tokenizer, std::string_view text, const CodeOptions& options, std::string& out) {
  std::vector<int32_t> ids;
  if (options.special)
    tokenizer.encode_with_special(text, ids);
  else
    tokenizer.encode(text, ids);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ' ';
    if (options.tokens)
      out += tokenizer.token_text(ids[i]);
    else
      fmt::format_to(std::back_inserter(out), "{}", ids[i]);
  }
  out += '\n';
}

void encode(const CodeOptions& options) {
  const auto tokenizer = load_tokenizer(options.tokenizer);
  for (const std::string& text : read_inputs(options.files)) {
    std::string out;
    if (options.lines)
      for_each_text_line(text, [&](std::string_view line) { append_encoded(*tokenizer, line, options, out); });
    else
      append_encoded(*tokenizer, text, options, out);
    write_stdout(out);
  }
}

std::vector<int32_t> parse_ids(std::string_view text) {
  std::vector<int32_t> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  for (;;) {
    while (at < end && is_space(*at)) ++at;
    if (at == end) return ids;
    int32_t id = 0;
    const auto [after, status] = std::from_chars(at, end, id);
    check(status == std::errc() && (after == end || is_space(*after)),
          "\"{}\" is not a token id; decode reads numbers with white space between",
          std::string_view(at, std::min<size_t>(static_cast<size_t>(end - at), 20)));
    ids.push_back(id);
    at = after;
  }
}

void decode(const CodeOptions& options) {
  const auto tokenizer = load_tokenizer(options.tokenizer);
  const DecodeOptions how{.skip_special = !options.special, .replace_invalid = false};
  for (const std::string& text : read_inputs(options.files)) {
    if (options.lines)
      for_each_text_line(text, [&](std::string_view line) { write_stdout(tokenizer->decode(parse_ids(line), how) + "\n"); });
    else
      write_stdout(tokenizer->decode(parse_ids(text), how));
  }
}

void add_tokenizer_option(Command app, fs::path& tokenizer) {
  app.add_option("--tokenizer,-t", tokenizer, "folder with tokenizer.json, vocab.json and merges.txt, vocab.txt, or a .model").required();
}

void add_encode(Command parent) {
  auto options = std::make_shared<CodeOptions>();
  Command app = parent.add_subcommand("encode", "Print the token ids of text, a line per file");
  add_tokenizer_option(app, options->tokenizer);
  app.add_option("files", options->files, "default: standard input");
  app.add_flag("--lines", options->lines, "every line is a text of its own");
  app.add_flag("--special", options->special, "special tokens in the text become their ids");
  app.add_flag("--tokens", options->tokens, "print tokens as the vocabulary spells them, not ids");
  app.footer("Example: echo -n 'Hello world' | triax tokenizer encode -t vocab");
  app.callback([options] { encode(*options); });
}

void add_decode(Command parent) {
  auto options = std::make_shared<CodeOptions>();
  Command app = parent.add_subcommand("decode", "Print the text of token ids");
  add_tokenizer_option(app, options->tokenizer);
  app.add_option("files", options->files, "numbers with white space between; default: standard input");
  app.add_flag("--lines", options->lines, "every line of ids is a text of its own");
  app.add_flag("--special", options->special, "print special tokens too");
  app.footer("Example: echo 15496 995 | triax tokenizer decode -t vocab");
  app.callback([options] { decode(*options); });
}

// --- convert ---

struct TokenizerConvertOptions {
  fs::path tokenizer, output;
};

void convert(const TokenizerConvertOptions& options) {
  const auto tokenizer = load_tokenizer(options.tokenizer);
  save_tokenizer(*tokenizer, options.output);
  fmt::print("{}, {} tokens -> {}\n", tokenizer->kind(), tokenizer->vocab_size(), options.output.string());
}

void add_convert(Command parent) {
  auto options = std::make_shared<TokenizerConvertOptions>();
  Command app = parent.add_subcommand("convert", "Write a vocabulary in all the forms that other programs read");
  add_tokenizer_option(app, options->tokenizer);
  app.add_option("--output,-o", options->output, "folder to write").required();
  app.footer("Example: triax tokenizer convert -t bert/vocab.txt -o bert-files");
  app.callback([options] { convert(*options); });
}

// --- bench: for bench/compare_tokenizers.py ---

struct TokenizerBenchOptions {
  fs::path tokenizer;
  DocumentFiles input;
  int rounds = 3, threads = 1;
};

void bench(TokenizerBenchOptions& options) {
  options.input.options.format = document_format_from(options.input.format);
  const auto tokenizer = load_tokenizer(options.tokenizer);
  std::vector<std::string> documents;
  size_t bytes = 0;
  for_each_document(options.input.files, options.input.options, [&](const Document& document) {
    documents.emplace_back(document.text);
    bytes += document.text.size();
  });
  if (options.threads > 0) set_num_threads(options.threads);
  // Of one thread the processor time, which other work on the machine disturbs least.
  const auto seconds = [&] {
    return options.threads == 1 ? static_cast<double>(std::clock()) / CLOCKS_PER_SEC
                                : std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
  };
  double best_encode = 1e30, best_decode = 1e30;
  size_t tokens = 0, decoded = 0;
  for (int round = 0; round < options.rounds; ++round) {
    std::vector<std::vector<int32_t>> ids(documents.size());
    const auto count = static_cast<int64_t>(documents.size());
    double start = seconds();
    parallel_for(count, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) tokenizer->encode(documents[static_cast<size_t>(i)], ids[static_cast<size_t>(i)]);
    });
    best_encode = std::min(best_encode, seconds() - start);
    tokens = decoded = 0;
    start = seconds();
    for (const auto& each : ids) decoded += tokenizer->decode(each).size();
    best_decode = std::min(best_decode, seconds() - start);
    for (const auto& each : ids) tokens += each.size();
  }
  const double megabytes = static_cast<double>(bytes) * 1e-6;
  fmt::print("{{\"bytes\": {}, \"tokens\": {}, \"decoded_bytes\": {}, \"threads\": {}, \"encode_mb_per_s\": {:.2f}, "
             "\"decode_mb_per_s\": {:.2f}}}\n",
             bytes, tokens, decoded, num_threads(), megabytes / best_encode, megabytes / best_decode);
}

void add_bench(Command parent) {
  auto options = std::make_shared<TokenizerBenchOptions>();
  Command app = parent.add_subcommand("bench", "Measure the speed of encoding and decoding, in MB a second");
  add_tokenizer_option(app, options->tokenizer);
  add_document_options(app, options->input);
  app.add_option("--rounds", options->rounds, "the best counts").show_default();
  app.add_option("--threads", options->threads, "for encoding; 1: measured in processor time, 0: all cores").show_default();
  app.footer("Example: triax tokenizer bench -t gpt2 --format paragraphs book.txt");
  app.callback([options] { bench(*options); });
}

}  // namespace

void add_document_options(Command app, DocumentFiles& input) {
  app.add_option("files", input.files, "text (.txt .md), JSON lines (.jsonl); may be .gz or .zst").required();
  app.add_option("--format", input.format, "auto, jsonl, text (a file is a document), paragraphs").show_default();
  app.add_option("--field", input.options.field, "JSON field that holds the text").show_default();
  app.add_flag("--skip-bad", input.options.skip_bad, "pass over records that cannot be read instead of stopping");
}

std::string read_stdin() {
  std::string text;
  char buffer[1 << 16];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, stdin)) text.append(buffer, n);
  check(std::ferror(stdin) == 0, "cannot read standard input");
  return text;
}

void add_tokenizer_command(Command app) {
  Command tokenizer = app.add_subcommand("tokenizer", "Learn and use vocabularies: text to token ids and back");
  tokenizer.require_subcommand();
  add_tokenizer_train(tokenizer);
  add_encode(tokenizer);
  add_decode(tokenizer);
  add_convert(tokenizer);
  add_tokenizer_inspect(tokenizer);
  add_bench(tokenizer);
}

}  // namespace triax::cli
