// triax tokenizer train: learn a vocabulary.
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <string>

#include "triax/base/error.h"
#include "triax/base/parallel.h"
#include "triax/base/progress.h"
#include "triax/base/text.h"
#include "triax/cli/tokenizer_commands.h"
#include "triax/text/bpe_trainer.h"
#include "triax/text/sentencepiece_tokenizer.h"
#include "triax/text/tokenizer.h"
#include "triax/text/unigram_trainer.h"
#include "triax/text/wordpiece_trainer.h"

namespace triax::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct TokenizerTrainOptions {
  DocumentFiles input;
  std::string kind = "bpe", memory = "0", normalization = "nmt_nfkc";
  int64_t vocab_size = 8192, min_frequency = 2, alphabet = 1000;
  double coverage = 0.9995;
  bool cased = false, byte_fallback = false;
  std::vector<std::string> special_tokens;
  fs::path output;
  int threads = 0;
};

text::WordCounterOptions counter_options(const TokenizerTrainOptions& options) {
  text::WordCounterOptions how;
  if (options.kind == "wordpiece") how.rule = text::WordRule::bert;
  if (options.kind == "unigram") how.rule = text::WordRule::spaces;
  how.bert.lowercase = !options.cased;
  how.memory_bytes = parse_bytes(options.memory, "--memory");
  how.spill_directory = options.output / ".word-counts";
  return how;
}

text::WordCounts count_words(const TokenizerTrainOptions& options) {
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

std::unique_ptr<Tokenizer> learn(const text::WordCounts& counts, const TokenizerTrainOptions& options) {
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
void check_kind(Command app, const TokenizerTrainOptions& options) {
  const std::pair<const char*, const char*> only[] = {{"--cased", "wordpiece"},    {"--alphabet", "wordpiece"},
                                                      {"--normalization", "unigram"}, {"--coverage", "unigram"},
                                                      {"--byte-fallback", "unigram"}};
  for (const auto& [name, kind] : only)
    check(!app.has(name) || options.kind == kind, "{} is for --kind {}, not {}", name, kind, options.kind);
  check(!app.has("--min-frequency") || options.kind != "unigram", "--min-frequency is for --kind bpe and wordpiece");
}

void train(Command app, TokenizerTrainOptions& options) {
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

}  // namespace

void add_tokenizer_train(Command parent) {
  auto options = std::make_shared<TokenizerTrainOptions>();
  Command app = parent.add_subcommand("train", "Learn a vocabulary from text");
  add_document_options(app, options->input);
  app.add_option("--kind", options->kind, "bpe (byte-level, as GPT-2), wordpiece (BERT), unigram (SentencePiece)")
      .one_of({"bpe", "wordpiece", "unigram"}).show_default();
  app.add_option("--vocab-size", options->vocab_size, "tokens, special ones included").show_default();
  app.add_option("--output,-o", options->output, "folder for tokenizer.json and its companions").required();
  app.add_option("--min-frequency", options->min_frequency, "bpe, wordpiece: of a pair, to become a token").show_default();
  app.add_option("--special-token", options->special_tokens,
                  "may be given several times; default for bpe <|endoftext|>, for wordpiece [PAD] [UNK] [CLS] [SEP] [MASK]");
  app.add_flag("--cased", options->cased, "wordpiece: keep capitals and accents");
  app.add_option("--alphabet", options->alphabet, "wordpiece: distinct characters that are kept").show_default();
  app.add_option("--normalization", options->normalization, "unigram: nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf, identity")
      .show_default();
  app.add_option("--coverage", options->coverage, "unigram: share of the characters of the text that become pieces")
      .show_default();
  app.add_flag("--byte-fallback", options->byte_fallback, "unigram: spell other characters by their bytes");
  app.add_option("--memory", options->memory,
                  "such as 4G: counts beyond it are spilled to the output folder; 0 is without limit").show_default();
  app.add_option("--threads", options->threads, "default: all cores");
  app.footer(
      "Examples:\n"
      "  triax tokenizer train --vocab-size 50257 --output vocab corpus.jsonl.zst\n"
      "  triax tokenizer train --kind wordpiece --vocab-size 30522 --memory 4G --output vocab corpus.jsonl.zst");
  app.callback([app, options] { train(app, *options); });
}

}  // namespace triax::cli
