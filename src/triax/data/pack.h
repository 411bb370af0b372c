// Packing: documents -> tokens -> a dataset on disk (PREFIX_text_document.bin and .idx).
//
// One thread reads and cuts the input, workers parse and tokenise batches of it, and the calling
// thread writes them in the order of the input, so that the result does not depend on the number of
// threads. Memory is that of the batches in flight, whatever the input.
//
// A journal, PREFIX_text_document.pack.json, says up to where the input is safely in the output. A
// run that died is gone on with by the same call; nothing is packed twice and nothing is left out.
// When all is done the journal stays as the record of what was packed, with which vocabulary.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "triax/data/document_reader.h"
#include "triax/data/indexed_dataset.h"
#include "triax/text/tokenizer.h"

namespace triax {

struct PackOptions {
  std::vector<std::filesystem::path> inputs{};
  std::filesystem::path output{};  // PREFIX
  DocumentOptions documents{};
  bool append_eod = true;  // the tokenizer's end-of-document token after each document
  // For BERT: a sequence is a sentence, a document is several; PREFIX_<field>_sentence. Without
  // end-of-document tokens, whatever append_eod says.
  bool sentences = false;
  std::string language = "en";  // of the sentences
  int threads = 0;         // workers; 0: one a core
  bool force = false;      // begin anew, over whatever is there
  double journal_seconds = 10;
  bool show_progress = false;
};

struct PackReport {
  std::filesystem::path dataset;  // PREFIX_text_document
  uint64_t documents = 0;
  uint64_t tokens = 0;
  uint64_t text_bytes = 0;
  uint64_t resumed_documents = 0;  // of them, packed by earlier runs
  uint64_t bad_records = 0;
  std::vector<std::string> bad_examples;  // of this run
  double seconds = 0;                     // of this run
  bool was_complete = false;              // there was nothing left to do
};

// PREFIX_<field>_document, or _sentence, as Megatron's tools name it.
std::filesystem::path packed_dataset_path(const PackOptions& options);

// Throws when an input is bad, when the output belongs to something else, or when the inputs or the
// vocabulary changed since an unfinished run began.
PackReport pack_documents(const Tokenizer& tokenizer, const PackOptions& options);

// One of several processes that pack together, with a file system that all see.
struct PackRanks {
  int rank = 0, size = 1;
  std::function<void()> barrier;
};

// Every rank packs its part of the input to files of its own (PREFIX-part-0-of-2...), with a journal of its own; then
// the first rank appends them to each other. The dataset is that of one process. Run again with the same number of
// ranks after an interruption. The report is of all ranks, on all ranks.
PackReport pack_documents(const Tokenizer& tokenizer, const PackOptions& options, const PackRanks& ranks);

// A number that tells vocabularies apart: a hash of all tokens and of a text encoded.
uint64_t tokenizer_fingerprint(const Tokenizer& tokenizer);

// Files as they are; folders replaced by the .jsonl, .json, .ndjson, .txt, .text and .md files below
// them (with .gz and .zst), in order of their names. Throws when there are none.
std::vector<std::filesystem::path> expand_inputs(const std::vector<std::filesystem::path>& inputs);

}  // namespace triax
