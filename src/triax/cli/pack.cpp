#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/base/json.h"
#include "triax/base/log.h"
#include "triax/base/parallel.h"
#include "triax/base/progress.h"
#include "triax/base/text.h"
#include "triax/cli/commands.h"
#include "triax/comm/world.h"
#include "triax/data/gpt_dataset.h"
#include "triax/data/pack.h"
#include "triax/data/pack_journal.h"
#include "triax/text/tokenizer.h"
#include "triax/train/training_data.h"

namespace triax::cli {
namespace {

namespace fs = std::filesystem;

struct PackFlags {
  std::vector<std::string> files, datasets;
  std::string tokenizer, output, dataset, format = "auto", field = "text", max_document = "64M", language = "en";
  int threads = 0;
  std::string config, shares;
  std::vector<std::string> overrides;
  int parts = 0;
  bool skip_bad = false, no_eod = false, sentences = false, force = false, with_special = false, plain = false;
  int64_t first = 0, count = -1;
};

// "12s (35 MiB/s)"; the rate is of a run that did all of it.
std::string took(const PackReport& report) {
  const std::string time = report.seconds < 10 ? fmt::format("{:.1f}s", report.seconds) : format_duration(report.seconds);
  if (report.resumed_documents > 0 || report.seconds <= 0) return time;
  return fmt::format("{} ({}/s)", time, format_bytes(static_cast<double>(report.text_bytes) / report.seconds));
}

int pack(const PackFlags& options, World& world) {
  check(!options.files.empty(), "no files were given; see `triax pack --help`");
  check(!options.tokenizer.empty(), "--tokenizer is missing: the folder of a vocabulary (`triax tokenizer train` makes one)");
  check(!options.output.empty(), "--output is missing: the beginning of the names of the files to write");
  PackOptions o;
  o.inputs = expand_inputs({options.files.begin(), options.files.end()});
  o.output = options.output;
  o.documents = {.format = document_format_from(options.format),
                 .field = options.field,
                 .skip_bad = options.skip_bad,
                 .max_document_bytes = parse_bytes(options.max_document, "--max-document")};
  o.append_eod = !options.no_eod;
  o.sentences = options.sentences;
  o.language = options.language;
  // Ranks on one host share its cores, unless they were bound to some.
  o.threads = options.threads > 0 ? options.threads : std::max(1, available_cores() / world.local_size());
  o.force = options.force;
  o.show_progress = true;
  const auto tokenizer = load_tokenizer(options.tokenizer);
  const PackReport report =
      pack_documents(*tokenizer, o, {world.rank(), world.size(), [&] { world.communicator().barrier(); }});
  for (const std::string& example : report.bad_examples) log_warning("left out: {}", example);
  if (world.rank() > 0) return 0;
  if (report.bad_records > 0) log_warning("{} bad records were left out in all", report.bad_records);
  if (report.was_complete) {
    fmt::print("{}.bin is complete already: ", report.dataset.string());
  } else if (report.resumed_documents > 0) {
    fmt::print("went on after {} documents: ", report.resumed_documents);
  }
  fmt::print("{} documents, {} of text, {} tokens ({:.2f} bytes each) in {} -> {}.bin, .idx\n", report.documents,
             format_bytes(static_cast<double>(report.text_bytes)), report.tokens,
             static_cast<double>(report.text_bytes) / static_cast<double>(std::max<uint64_t>(report.tokens, 1)),
             took(report), report.dataset.string());
  return 0;
}

void inspect(const PackFlags& options) {
  const IndexedDataset data(options.dataset);
  std::vector<int64_t> lengths;
  for (int64_t d = 0; d < data.num_documents(); ++d) {
    int64_t length = 0;
    for (int64_t s = data.document_begin(d); s < data.document_begin(d + 1); ++s) length += data.length(s);
    lengths.push_back(length);
  }
  std::sort(lengths.begin(), lengths.end());
  const auto quantile = [&](double q) {
    return lengths.empty() ? 0 : lengths[static_cast<size_t>(q * static_cast<double>(lengths.size() - 1))];
  };
  fmt::print("dataset      {}\n", data.path().string());
  fmt::print("tokens       {} ({}), {} each\n", data.num_tokens(), format_count(static_cast<double>(data.num_tokens())),
             token_type_name(data.token_type()));
  fmt::print("documents    {}, {} of them empty\n", data.num_documents(),
             std::upper_bound(lengths.begin(), lengths.end(), 0) - lengths.begin());
  if (data.num_sequences() != data.num_documents()) fmt::print("sequences    {}\n", data.num_sequences());
  fmt::print("length       mean {:.1f}, shortest {}, 10% {}, median {}, 90% {}, 99% {}, longest {}\n",
             static_cast<double>(data.num_tokens()) / static_cast<double>(std::max<size_t>(lengths.size(), 1)),
             quantile(0), quantile(0.1), quantile(0.5), quantile(0.9), quantile(0.99), quantile(1));
  if (const auto journal = read_pack_journal(data.path())) {
    fmt::print("vocabulary   {}, {} tokens, fingerprint {}\n", journal->tokenizer_kind, journal->vocab_size,
               journal->tokenizer_fingerprint);
    fmt::print("text         {} from {} files, {} bad records left out\n",
               format_bytes(static_cast<double>(journal->text_bytes)), journal->inputs.size(), journal->bad_records);
  }
}

void verify(const PackFlags& options) {
  const IndexedDataset data(options.dataset);  // checks the index against the files
  int64_t vocab_size = 0, eod = -1, without_eod = 0;
  if (!options.tokenizer.empty()) {
    const auto tokenizer = load_tokenizer(options.tokenizer);
    vocab_size = tokenizer->vocab_size();
    eod = tokenizer->special_tokens().eod.value_or(-1);
    const auto journal = read_pack_journal(data.path());
    const bool other = journal && journal->tokenizer_fingerprint != fmt::format("{:016x}", tokenizer_fingerprint(*tokenizer));
    check(!other, "{}: was packed with another vocabulary ({}, {} tokens) than {}", data.path().string(),
          journal ? journal->tokenizer_kind : "", journal ? journal->vocab_size : 0, options.tokenizer);
  }
  Progress progress("verifying", static_cast<uint64_t>(data.num_tokens()), {.unit = "tokens"});
  std::vector<int32_t> tokens;
  int32_t largest = -1;
  for (int64_t s = 0; s < data.num_sequences(); ++s) {
    tokens.resize(static_cast<size_t>(data.length(s)));
    data.read(s, 0, tokens);
    for (const int32_t token : tokens) {
      check(token >= 0 && (vocab_size == 0 || token < vocab_size),
            "{}: sequence {} holds token {}, outside of the vocabulary of {}; it was packed with another, or is damaged",
            data.path().string(), s, token, vocab_size);
      largest = std::max(largest, token);
    }
    if (tokens.empty() || tokens.back() != eod) ++without_eod;
    progress.add(tokens.size());
  }
  progress.finish();
  fmt::print("{}: {} documents, {} tokens, largest {}: sound\n", data.path().string(), data.num_documents(),
             data.num_tokens(), largest);
  if (eod >= 0 && without_eod > 0 && data.num_sequences() == data.num_documents())
    fmt::print("{} of {} sequences do not end with the end-of-document token {}\n", without_eod, data.num_sequences(), eod);
}

void merge(const PackFlags& options) {
  std::vector<IndexedDataset> inputs;
  for (const std::string& path : options.datasets) inputs.emplace_back(path);
  check(!fs::exists(bin_path(options.output)) || options.force, "{} exists already; choose another output, or say --force to replace it",
        bin_path(options.output).string());
  for (const IndexedDataset& input : inputs)
    check(fs::weakly_canonical(bin_path(input.path())) != fs::weakly_canonical(bin_path(options.output)),
          "{} cannot be both merged and written; choose another output", options.output);
  merge_datasets(inputs, options.output);
  const IndexedDataset merged(options.output);
  fmt::print("{} documents, {} tokens -> {}.bin, .idx\n", merged.num_documents(), merged.num_tokens(), merged.path().string());
}

// Consecutive documents each: parts of about as many tokens, or the shares of training, validation and test.
std::vector<std::pair<fs::path, SequenceRange>> plan_split(const PackFlags& options, const IndexedDataset& data) {
  std::vector<std::pair<fs::path, SequenceRange>> plan;
  if (options.parts > 0) {
    int64_t tokens = 0, begin = 0, part = 0;
    for (int64_t d = 0; d < data.num_documents(); ++d) {
      for (int64_t s = data.document_begin(d); s < data.document_begin(d + 1); ++s) tokens += data.length(s);
      const bool full = static_cast<double>(tokens) * options.parts >= static_cast<double>(data.num_tokens()) * static_cast<double>(part + 1);
      if ((!full && d + 1 < data.num_documents()) || part + 1 == options.parts) continue;
      plan.emplace_back(fmt::format("{}_{}", options.output, part++), SequenceRange{begin, d + 1});
      begin = d + 1;
    }
    plan.emplace_back(fmt::format("{}_{}", options.output, part), SequenceRange{begin, data.num_documents()});
  } else {
    const auto ranges = split_ranges(options.shares, data.num_documents());
    for (const Split split : {Split::train, Split::valid, Split::test})
      plan.emplace_back(fmt::format("{}_{}", options.output, split_name(split)), ranges[static_cast<size_t>(split)]);
  }
  std::erase_if(plan, [](const auto& part) { return part.second.begin >= part.second.end; });
  return plan;
}

void split_dataset(const PackFlags& options) {
  check((options.parts > 0) != !options.shares.empty(), "say either --parts or --shares");
  const IndexedDataset data(options.dataset);
  const auto plan = plan_split(options, data);
  for (const auto& [prefix, range] : plan)
    check(!fs::exists(bin_path(prefix)) || options.force, "{} exists already; choose another output, or say --force to replace it",
          bin_path(prefix).string());
  for (const auto& [prefix, range] : plan) {
    extract_documents(data, range.begin, range.end, prefix);
    fmt::print("documents {} to {} -> {}.bin, .idx, {} tokens\n", range.begin, range.end, prefix.string(), IndexedDataset(prefix).num_tokens());
  }
}

// What `triax train` builds before its first step, built now and kept where it looks for it.
void index(const PackFlags& options) {
  RunConfig config;
  ConfigFields fields(config);
  fields.load_file(options.config);
  for (const std::string& assignment : options.overrides) fields.set(assignment);
  check(!config.data.train.empty(), "{}: data.train is empty: name the token datasets to train on", options.config);
  std::unique_ptr<Tokenizer> tokenizer;
  if (!config.data.tokenizer.empty()) {
    tokenizer = load_tokenizer(config.data.tokenizer);
    if (config.model.vocab_size == 0) config.model.vocab_size = tokenizer->vocab_size();
  }
  config.resolve();
  const TrainingData data(config, tokenizer.get());
  fmt::print("{}\n", data.summary());
}

// Documents as JSON lines that `triax pack` reads, or as plain text.
void read(const PackFlags& options) {
  const IndexedDataset data(options.dataset);
  const auto tokenizer = load_tokenizer(options.tokenizer);
  check(options.first >= 0 && options.first <= data.num_documents(), "--first {}: there are {} documents", options.first,
        data.num_documents());
  const int64_t left = data.num_documents() - options.first;
  const int64_t end = options.first + (options.count < 0 ? left : std::min(options.count, left));
  std::vector<int32_t> tokens;
  for (int64_t d = options.first; d < end; ++d) {
    tokens.clear();
    for (int64_t s = data.document_begin(d); s < data.document_begin(d + 1); ++s) {
      const size_t before = tokens.size();
      tokens.resize(before + static_cast<size_t>(data.length(s)));
      data.read(s, 0, std::span(tokens).subspan(before));
    }
    const std::string text = tokenizer->decode(tokens, {.skip_special = !options.with_special});
    const std::string line = options.plain ? text : Json{{"text", text}}.dump();
    std::fwrite(line.data(), 1, line.size(), stdout);
    std::fputc('\n', stdout);
  }
}

void add_subcommands(Command command, const std::shared_ptr<PackFlags>& o) {
  // What is meant for one of them must not end up with the command above it.
  const auto add = [&](const char* name, const char* help) {
    const Command sub = command.add_subcommand(name, help);
    sub.keep_options_apart();
    return sub;
  };
  Command sub = add("inspect", "Show what a dataset holds");
  sub.add_option("dataset", o->dataset, "PREFIX of .bin and .idx, a .ds of datatrove, or a .bin of llm.c").required().type_name("DATASET");
  sub.callback([o] { inspect(*o); });

  sub = add("verify", "Read a whole dataset and check it");
  sub.add_option("dataset", o->dataset, "the dataset").required().type_name("DATASET");
  sub.add_option("--tokenizer", o->tokenizer, "also check the tokens against this vocabulary").type_name("DIR");
  sub.callback([o] { verify(*o); });

  sub = add("merge", "Append datasets to each other");
  sub.add_option("datasets", o->datasets, "the datasets, in order").required().type_name("DATASET");
  sub.add_option("-o,--output", o->output, "PREFIX of the files to write").required().type_name("PREFIX");
  sub.add_flag("--force", o->force, "replace what is there");
  sub.callback([o] { merge(*o); });

  sub = add("split", "Cut a dataset into parts of consecutive documents");
  sub.add_option("dataset", o->dataset, "the dataset").required().type_name("DATASET");
  sub.add_option("-o,--output", o->output, "PREFIX of the files to write: PREFIX_0, or PREFIX_train, _valid, _test").required().type_name("PREFIX");
  sub.add_option("--parts", o->parts, "that many, with about as many tokens each").positive().type_name("N");
  sub.add_option("--shares", o->shares, "of the documents for training, validation and test, such as 969,30,1").type_name("A,B,C");
  sub.add_flag("--force", o->force, "replace what is there");
  sub.callback([o] { split_dataset(*o); });

  sub = add("index", "Build the order of the samples of a training run ahead of time, and show its blend");
  sub.add_option("config", o->config, "TOML file of the run, as for `triax train`").required().type_name("FILE");
  sub.add_option("--set", o->overrides, "override one key of the file, as section.key=value; may be given many times")
      .type_name("KEY=VALUE").repeatable();
  sub.callback([o] { index(*o); });

  sub = add("read", "Write the documents of a dataset as text");
  sub.add_option("dataset", o->dataset, "the dataset").required().type_name("DATASET");
  sub.add_option("--tokenizer", o->tokenizer, "the vocabulary it was packed with").required().type_name("DIR");
  sub.add_option("--first", o->first, "first document, from 0").type_name("N").show_default();
  sub.add_option("-n,--count", o->count, "how many documents; -1 is all").type_name("N").show_default();
  sub.add_flag("--plain", o->plain, "text instead of JSON lines");
  sub.add_flag("--special", o->with_special, "show special tokens, such as the end of a document");
  sub.callback([o] { read(*o); });
}

}  // namespace

void add_pack_command(Command app) {
  Command command = app.add_subcommand(
      "pack", "Turn text into a token dataset to train on (Megatron .bin and .idx), or look into one");
  auto o = std::make_shared<PackFlags>();
  command.add_option("files", o->files, "JSON lines or text, plain, .gz or .zst; or folders of them").type_name("FILE");
  command.add_option("--tokenizer", o->tokenizer, "folder of the vocabulary").type_name("DIR");
  command.add_option("-o,--output", o->output, "writes PREFIX_text_document.bin and .idx").type_name("PREFIX");
  command.add_option("--format", o->format, "auto (by the names), jsonl, text (a file is a document) or paragraphs (blank lines between documents)")
      .type_name("NAME").show_default();
  command.add_option("--field", o->field, "field of the JSON objects that holds the text").type_name("NAME").show_default();
  command.add_flag("--no-eod", o->no_eod, "no end-of-document token after each document");
  const Option sentences = command.add_flag(
      "--sentences", o->sentences, "for BERT: a sequence is a sentence, without end-of-document tokens; writes PREFIX_text_sentence.bin and .idx");
  command.add_option("--language", o->language, "of the sentences, such as en, de, zh").needs(sentences).type_name("CODE").show_default();
  command.add_flag("--skip-bad", o->skip_bad, "leave out records that are not JSON, not UTF-8, or too long, and count them");
  command.add_option("--max-document", o->max_document, "longest document, such as 512M").type_name("SIZE").show_default();
  command.add_option("-j,--threads", o->threads, "tokenising threads; 0 is one a core").non_negative().type_name("N").show_default();
  command.add_flag("--force", o->force, "begin anew, over whatever is there");
  command.footer(
      "A run that was interrupted is gone on with by the same command.\n"
      "Examples:\n"
      "  triax pack --tokenizer vocab/ --output data/books books/*.txt\n"
      "  triax pack --tokenizer vocab/ --output data/web --field content shards/*.jsonl.zst\n"
      "  mpirun -n 4 triax pack --tokenizer vocab/ --output data/web shards/*.jsonl\n"
      "  triax pack inspect data/books_text_document\n"
      "  triax pack index run.toml\n"
      "  triax pack read data/books_text_document --tokenizer vocab/ -n 1");
  command.allow_subcommand();
  add_subcommands(command, o);
  command.callback([o, command] {
    if (!command.has_subcommand()) run_ranks({}, [&](World& world) { return pack(*o, world); });
  });
}

}  // namespace triax::cli
