// triax tokenizer: learn a vocabulary, turn text into ids and back, compare vocabularies.
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
#include "triax/base/progress.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"
#include "triax/data/document_reader.h"
#include "triax/text/bpe_trainer.h"
#include "triax/text/sentencepiece_tokenizer.h"
#include "triax/text/unigram_trainer.h"
#include "triax/text/wordpiece_trainer.h"

namespace triax::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// --- Input and output ---

// The text of the documents: which files, and how they are cut.
struct DocumentFiles {
  std::vector<fs::path> files;
  std::string format = "auto";
  DocumentOptions options;
};

void add_document_options(CLI::App& app, DocumentFiles& input) {
  app.add_option("files", input.files, "text (.txt .md), JSON lines (.jsonl); may be .gz or .zst")->required();
  app.add_option("--format", input.format, "auto, jsonl, text (a file is a document), paragraphs")->capture_default_str();
  app.add_option("--field", input.options.field, "JSON field that holds the text")->capture_default_str();
  app.add_flag("--skip-bad", input.options.skip_bad, "pass over records that cannot be read instead of stopping");
}

std::string read_stdin() {
  std::string text;
  char buffer[1 << 16];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, stdin)) text.append(buffer, n);
  check(std::ferror(stdin) == 0, "cannot read standard input");
  return text;
}

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

// Calls body(line) for every line, without its line end.
template <typename Body>
void for_each_line(std::string_view text, Body&& body) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    body(line);
  }
}

// --- train ---

struct TrainOptions {
  DocumentFiles input;
  std::string kind = "bpe", memory = "0", normalization = "nmt_nfkc";
  int64_t vocab_size = 8192, min_frequency = 2, alphabet = 1000;
  double coverage = 0.9995;
  bool cased = false, byte_fallback = false;
  std::vector<std::string> special_tokens;
  fs::path output;
  int threads = 0;
};

text::WordCounterOptions counter_options(const TrainOptions& options) {
  text::WordCounterOptions how;
  if (options.kind == "wordpiece") how.rule = text::WordRule::bert;
  if (options.kind == "unigram") how.rule = text::WordRule::spaces;
  how.bert.lowercase = !options.cased;
  how.memory_bytes = parse_bytes(options.memory, "--memory");
  how.spill_directory = options.output / ".word-counts";
  return how;
}

text::WordCounts count_words(const TrainOptions& options) {
  const DocumentFiles& input = options.input;
  DocumentReader reader(input.files, input.options);
  DocumentParser parser(input.options);
  DocumentBatch batch;
  BadRecords bad;
  text::WordCounter counter(counter_options(options));
  Progress progress("counting words", reader.total_bytes());
  while (reader.next(batch)) {
    bad.add(batch.too_long);
    parser.parse(batch, [&](const Document& document) { counter.add(document.text); }, bad);
    progress.update(batch.source_bytes);
  }
  progress.finish();
  if (bad.count > 0) fmt::print(stderr, "triax: {} bad records passed over; the first: {}\n", bad.count, bad.examples[0]);
  check(counter.bytes() > 0, "the input holds no text to train on");
  const std::string documents = format_count(static_cast<double>(counter.documents()));
  const std::string bytes = format_bytes(static_cast<double>(counter.bytes()));
  text::WordCounts counts = counter.finish();
  fmt::print("text         {} in {} documents, {} distinct words\n", bytes, documents,
             format_count(static_cast<double>(counts.words.size())));
  if (counts.words_left_out > 0)
    fmt::print("             {} rarer words, {} occurrences in all, did not fit into --memory and were left out\n",
               format_count(static_cast<double>(counts.words_left_out)),
               format_count(static_cast<double>(counts.occurrences_left_out)));
  return counts;
}

std::unique_ptr<Tokenizer> learn(const text::WordCounts& counts, const TrainOptions& options) {
  Progress progress("learning tokens", static_cast<uint64_t>(options.vocab_size), {.unit = "tokens"});
  const text::MergeProgress show = [&](int64_t size, int64_t) { progress.update(static_cast<uint64_t>(size)); };
  if (options.kind == "wordpiece") {
    text::WordPieceTrainerOptions trainer{.vocab_size = options.vocab_size, .min_frequency = options.min_frequency,
                                          .alphabet = options.alphabet, .progress = show};
    if (!options.special_tokens.empty()) trainer.special_tokens = options.special_tokens;
    trainer.normalization.lowercase = !options.cased;
    return make_wordpiece_tokenizer(train_wordpiece(counts, trainer));
  }
  if (options.kind == "unigram") {
    const text::UnigramTrainerOptions trainer{.vocab_size = options.vocab_size,
                                              .special_tokens = options.special_tokens,
                                              .character_coverage = options.coverage,
                                              .normalization = options.normalization,
                                              .byte_fallback = options.byte_fallback};
    return text::parse_sentencepiece({"the new vocabulary", train_unigram(counts, trainer)});
  }
  text::BpeTrainerOptions trainer{.vocab_size = options.vocab_size, .min_frequency = options.min_frequency, .progress = show};
  if (!options.special_tokens.empty()) trainer.special_tokens = options.special_tokens;
  return make_bpe_tokenizer(train_bpe(counts, trainer));
}

// An option that the kind of vocabulary does not have.
void check_kind(const CLI::App& app, const TrainOptions& options) {
  const std::pair<const char*, const char*> only[] = {{"--cased", "wordpiece"},    {"--alphabet", "wordpiece"},
                                                      {"--normalization", "unigram"}, {"--coverage", "unigram"},
                                                      {"--byte-fallback", "unigram"}};
  for (const auto& [name, kind] : only)
    check(app.count(name) == 0 || options.kind == kind, "{} is for --kind {}, not {}", name, kind, options.kind);
  check(app.count("--min-frequency") == 0 || options.kind != "unigram", "--min-frequency is for --kind bpe and wordpiece");
}

void train(const CLI::App& app, TrainOptions& options) {
  check_kind(app, options);
  if (options.threads > 0) set_num_threads(options.threads);
  options.input.options.format = document_format_from(options.input.format);
  const auto start = Clock::now();
  const text::WordCounts counts = count_words(options);
  const double counted = seconds_since(start);
  const auto tokenizer = learn(counts, options);
  save_tokenizer(*tokenizer, options.output);
  fmt::print("vocabulary   {} tokens in {}\n", tokenizer->vocab_size(), options.output.string());
  if (tokenizer->vocab_size() < options.vocab_size)
    fmt::print("             fewer than the {} asked for: no other pair occurs {} times\n", options.vocab_size,
               std::max<int64_t>(1, options.min_frequency));
  fmt::print("time         {:.1f} s, of which counting {:.1f} s\n", seconds_since(start), counted);
}

void add_train(CLI::App& parent) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* app = parent.add_subcommand("train", "Learn a vocabulary from text");
  add_document_options(*app, options->input);
  app->add_option("--kind", options->kind, "bpe (byte-level, as GPT-2), wordpiece (BERT), unigram (SentencePiece)")
      ->check(CLI::IsMember({"bpe", "wordpiece", "unigram"}))->capture_default_str();
  app->add_option("--vocab-size", options->vocab_size, "tokens, special ones included")->capture_default_str();
  app->add_option("--output,-o", options->output, "folder for tokenizer.json and its companions")->required();
  app->add_option("--min-frequency", options->min_frequency, "bpe, wordpiece: of a pair, to become a token")->capture_default_str();
  app->add_option("--special-token", options->special_tokens,
                  "may be given several times; default for bpe <|endoftext|>, for wordpiece [PAD] [UNK] [CLS] [SEP] [MASK]");
  app->add_flag("--cased", options->cased, "wordpiece: keep capitals and accents");
  app->add_option("--alphabet", options->alphabet, "wordpiece: distinct characters that are kept")->capture_default_str();
  app->add_option("--normalization", options->normalization, "unigram: nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf, identity")
      ->capture_default_str();
  app->add_option("--coverage", options->coverage, "unigram: share of the characters of the text that become pieces")
      ->capture_default_str();
  app->add_flag("--byte-fallback", options->byte_fallback, "unigram: spell other characters by their bytes");
  app->add_option("--memory", options->memory,
                  "such as 4G: counts beyond it are spilled to the output folder; 0 is without limit")->capture_default_str();
  app->add_option("--threads", options->threads, "default: all cores");
  app->footer(
      "Examples:\n"
      "  triax tokenizer train --vocab-size 50257 --output vocab corpus.jsonl.zst\n"
      "  triax tokenizer train --kind wordpiece --vocab-size 30522 --memory 4G --output vocab corpus.jsonl.zst");
  app->callback([app, options] { train(*app, *options); });
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
      for_each_line(text, [&](std::string_view line) { append_encoded(*tokenizer, line, options, out); });
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
      for_each_line(text, [&](std::string_view line) { write_stdout(tokenizer->decode(parse_ids(line), how) + "\n"); });
    else
      write_stdout(tokenizer->decode(parse_ids(text), how));
  }
}

void add_tokenizer_option(CLI::App& app, fs::path& tokenizer) {
  app.add_option("--tokenizer,-t", tokenizer, "folder with tokenizer.json, vocab.json and merges.txt, vocab.txt, or a .model")->required();
}

void add_encode(CLI::App& parent) {
  auto options = std::make_shared<CodeOptions>();
  CLI::App* app = parent.add_subcommand("encode", "Print the token ids of text, a line per file");
  add_tokenizer_option(*app, options->tokenizer);
  app->add_option("files", options->files, "default: standard input");
  app->add_flag("--lines", options->lines, "every line is a text of its own");
  app->add_flag("--special", options->special, "special tokens in the text become their ids");
  app->add_flag("--tokens", options->tokens, "print tokens as the vocabulary spells them, not ids");
  app->footer("Example: echo -n 'Hello world' | triax tokenizer encode -t vocab");
  app->callback([options] { encode(*options); });
}

void add_decode(CLI::App& parent) {
  auto options = std::make_shared<CodeOptions>();
  CLI::App* app = parent.add_subcommand("decode", "Print the text of token ids");
  add_tokenizer_option(*app, options->tokenizer);
  app->add_option("files", options->files, "numbers with white space between; default: standard input");
  app->add_flag("--lines", options->lines, "every line of ids is a text of its own");
  app->add_flag("--special", options->special, "print special tokens too");
  app->footer("Example: echo 15496 995 | triax tokenizer decode -t vocab");
  app->callback([options] { decode(*options); });
}

// --- convert ---

struct ConvertOptions {
  fs::path tokenizer, output;
};

void convert(const ConvertOptions& options) {
  const auto tokenizer = load_tokenizer(options.tokenizer);
  save_tokenizer(*tokenizer, options.output);
  fmt::print("{}, {} tokens -> {}\n", tokenizer->kind(), tokenizer->vocab_size(), options.output.string());
}

void add_convert(CLI::App& parent) {
  auto options = std::make_shared<ConvertOptions>();
  CLI::App* app = parent.add_subcommand("convert", "Write a vocabulary in all the forms that other programs read");
  add_tokenizer_option(*app, options->tokenizer);
  app->add_option("--output,-o", options->output, "folder to write")->required();
  app->footer("Example: triax tokenizer convert -t bert/vocab.txt -o bert-files");
  app->callback([options] { convert(*options); });
}

// --- inspect ---

struct InspectOptions {
  std::vector<fs::path> tokenizers;
  std::vector<std::string> words;
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

void inspect(const InspectOptions& options) {
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
    for (const std::string& text : read_inputs(options.files))
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
  for (const std::string& word : options.words) {
    fmt::print("\n{}\n", word);
    for (size_t i = 0; i < tokenizers.size(); ++i)
      fmt::print("  {:<20}  {}\n", options.tokenizers[i].string(), split_word(*tokenizers[i], word));
  }
}

void add_inspect(CLI::App& parent) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* app = parent.add_subcommand("inspect", "Compare vocabularies: size, compression of a text, how words split");
  app->add_option("--tokenizer,-t", options->tokenizers, "several to see them side by side")->required()->allow_extra_args(false);
  app->add_option("--word,-w", options->words, "show how this word splits")->allow_extra_args(false);
  app->add_option("files", options->files, "text to measure on");
  app->footer("Example: triax tokenizer inspect -t gpt2 -t vocab -w naloxone -w adrenocorticotropin articles.txt");
  app->callback([options] { inspect(*options); });
}

// --- bench: for bench/compare_tokenizers.py ---

struct BenchOptions {
  fs::path tokenizer;
  DocumentFiles input;
  int rounds = 3, threads = 1;
};

void bench(BenchOptions& options) {
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

void add_bench(CLI::App& parent) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* app = parent.add_subcommand("bench", "Measure the speed of encoding and decoding, in MB a second");
  add_tokenizer_option(*app, options->tokenizer);
  add_document_options(*app, options->input);
  app->add_option("--rounds", options->rounds, "the best counts")->capture_default_str();
  app->add_option("--threads", options->threads, "for encoding; 1: measured in processor time, 0: all cores")->capture_default_str();
  app->footer("Example: triax tokenizer bench -t gpt2 --format paragraphs book.txt");
  app->callback([options] { bench(*options); });
}

}  // namespace

void add_tokenizer_command(CLI::App& app) {
  CLI::App* tokenizer = app.add_subcommand("tokenizer", "Learn and use vocabularies: text to token ids and back");
  tokenizer->require_subcommand(1);
  add_train(*tokenizer);
  add_encode(*tokenizer);
  add_decode(*tokenizer);
  add_convert(*tokenizer);
  add_inspect(*tokenizer);
  add_bench(*tokenizer);
}

}  // namespace triax::cli
