// The journal of a packing run: how far it is, and what it must agree with to be gone on with.
#pragma once

#include <optional>

#include "triax/data/pack.h"

namespace triax {

struct PackJournal {
  // What the output depends on.
  struct Input {
    std::string path;
    uint64_t bytes = 0;
    int64_t modified = 0;  // nanoseconds
    bool operator==(const Input&) const = default;
  };
  std::vector<Input> inputs;
  std::string tokenizer_kind;
  std::string tokenizer_fingerprint;
  int64_t vocab_size = 0;
  int64_t eod = -1;      // -1: none is appended
  std::string format, field;
  std::string sentences;  // language of the sentences, empty: a document is one sequence
  uint64_t max_document_bytes = 0;

  // How far it is.
  InputPosition input;
  DatasetPosition output;
  uint64_t text_bytes = 0, bad_records = 0;
  bool complete = false;
};

PackJournal make_pack_journal(const Tokenizer& tokenizer, const PackOptions& options);
std::filesystem::path pack_journal_path(const std::filesystem::path& dataset);

// Empty when there is none. Throws when it cannot be understood.
std::optional<PackJournal> read_pack_journal(const std::filesystem::path& dataset);
void write_pack_journal(const std::filesystem::path& dataset, const PackJournal& journal);

// The first thing in which the two would give different output, such as "the file a.jsonl has
// changed"; empty when there is none.
std::string pack_difference(const PackJournal& before, const PackJournal& now);

}  // namespace triax
