#include <algorithm>
#include <chrono>

#include "triax/base/error.h"
#include "triax/data/pack_journal.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

PackOptions part_options(const PackOptions& options, int rank, int size, const std::vector<InputRange>& ranges) {
  PackOptions part = options;
  part.output = fmt::format("{}-part-{}-of-{}", options.output.string(), rank, size);
  part.documents.range = ranges[static_cast<size_t>(rank)];
  part.show_progress = options.show_progress && rank == 0;
  return part;
}

void remove_dataset(const fs::path& dataset) {
  for (const fs::path& file : {idx_path(dataset), bin_path(dataset), pack_journal_path(dataset)}) fs::remove(file);
}

// Parts that a run of another number of ranks left would stay there for ever.
void check_no_other_parts(const PackOptions& options, int size) {
  const fs::path folder = options.output.has_parent_path() ? options.output.parent_path() : ".";
  const std::string begin = options.output.filename().string() + "-part-";
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(begin)) continue;
    const bool ours = name.find(fmt::format("-of-{}_", size)) != std::string::npos;
    check(ours || options.force, "{}: is what another number of ranks left unfinished; go on with as many, or remove it, or say --force",
          entry.path().string());
    if (!ours) fs::remove(entry.path());
  }
}

// Appends the parts to each other, and writes the journal of the whole.
void join_parts(const Tokenizer& tokenizer, const PackOptions& options, int size, const std::vector<InputRange>& ranges) {
  const fs::path dataset = packed_dataset_path(options);
  PackJournal whole = make_pack_journal(tokenizer, options);
  std::vector<IndexedDataset> parts;
  std::vector<fs::path> paths;
  for (int rank = 0; rank < size; ++rank) {
    paths.push_back(packed_dataset_path(part_options(options, rank, size, ranges)));
    parts.emplace_back(paths.back());
    const auto journal = read_pack_journal(paths.back());
    check(journal && journal->complete, "{}: is not complete; run the same command again", paths.back().string());
    whole.input = journal->input;
    whole.output.tokens += journal->output.tokens;
    whole.output.sequences += journal->output.sequences;
    whole.output.documents += journal->output.documents;
    whole.text_bytes += journal->text_bytes;
    whole.bad_records += journal->bad_records;
  }
  merge_datasets(parts, dataset);
  whole.complete = true;
  write_pack_journal(dataset, whole);
  parts.clear();
  for (const fs::path& path : paths) remove_dataset(path);
}

}  // namespace

PackReport pack_documents(const Tokenizer& tokenizer, const PackOptions& options, const PackRanks& ranks) {
  if (ranks.size == 1) return pack_documents(tokenizer, options);
  const auto began = std::chrono::steady_clock::now();
  const fs::path dataset = packed_dataset_path(options);
  if (ranks.rank == 0) check_no_other_parts(options, ranks.size);
  if (ranks.rank == 0 && options.force) remove_dataset(dataset);
  ranks.barrier();
  const auto ranges = divide_input(options.inputs, options.documents.format, ranks.size);
  const PackOptions mine = part_options(options, ranks.rank, ranks.size, ranges);
  PackReport report;
  report.dataset = dataset;
  if (const auto journal = read_pack_journal(dataset)) {
    const std::string difference = pack_difference(*journal, make_pack_journal(tokenizer, options));
    check(difference.empty(), "{} was begun with something else: {}; choose another output, or say --force to pack anew",
          dataset.string(), difference);
    check(journal->complete, "{} was begun by one process; go on with one, or say --force to pack anew", dataset.string());
    report.was_complete = true;
    remove_dataset(packed_dataset_path(mine));  // where the run that joined the parts died
  } else {
    // A run may have died after it joined the parts, but before it could say so.
    const bool begun = fs::exists(pack_journal_path(packed_dataset_path(mine)));
    check(begun || (!fs::exists(bin_path(dataset)) && !fs::exists(idx_path(dataset))),
          "{} exists already; choose another output, or say --force to replace it", bin_path(dataset).string());
    const PackReport part = pack_documents(tokenizer, mine);
    report.resumed_documents = part.resumed_documents;
    report.bad_examples = part.bad_examples;
    ranks.barrier();
    if (ranks.rank == 0) join_parts(tokenizer, options, ranks.size, ranges);
  }
  ranks.barrier();
  const auto journal = read_pack_journal(dataset);
  check(journal && journal->complete, "{}: its journal is not there", dataset.string());
  report.documents = journal->output.documents;
  report.tokens = journal->output.tokens;
  report.text_bytes = journal->text_bytes;
  report.bad_records = journal->bad_records;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return report;
}

}  // namespace triax
