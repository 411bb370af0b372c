#include "triax/data/pack.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "triax/base/error.h"
#include "triax/base/log.h"
#include "triax/base/parallel.h"
#include "triax/base/progress.h"
#include "triax/base/text.h"
#include "triax/data/pack_journal.h"
#include "triax/data/sentences.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kBytesInFlight = uint64_t{16} << 20;
constexpr uint64_t kBytesInFlightPerWorker = uint64_t{8} << 20;

// A batch as it goes into the dataset.
struct PackedBatch {
  std::vector<std::byte> tokens;
  std::vector<int32_t> lengths, sequences;  // of each sequence; of each document
  InputPosition end;
  uint64_t source_bytes = 0, text_bytes = 0, charge = 0;
  BadRecords bad;
  std::exception_ptr error;
};

// Tokenises batches. One a worker.
class BatchPacker {
 public:
  BatchPacker(const Tokenizer& tokenizer, const PackOptions& options, TokenType type, int32_t eod)
      : tokenizer_(tokenizer), parser_(options.documents), type_(type), eod_(eod) {
    if (options.sentences) splitter_ = std::make_unique<SentenceSplitter>(options.language);
  }

  PackedBatch pack(const DocumentBatch& batch) {
    PackedBatch out;
    out.end = batch.end;
    out.source_bytes = batch.source_bytes;
    out.bad = batch.too_long;
    try {
      parser_.parse(batch, [&](const Document& document) { add(document, out); }, out.bad);
    } catch (...) {
      out.error = std::current_exception();
    }
    return out;
  }

 private:
  void add(const Document& document, PackedBatch& out) {
    out.text_bytes += document.text.size();
    // A document without tokens stays a document, without a sequence.
    out.sequences.push_back(0);
    if (splitter_) {
      for (const std::string_view sentence : splitter_->split(document.text)) add_sequence(sentence, out);
    } else {
      add_sequence(document.text, out);
    }
  }

  void add_sequence(std::string_view text, PackedBatch& out) {
    ids_.clear();
    tokenizer_.encode(text, ids_);
    if (ids_.empty()) return;
    if (eod_ >= 0) ids_.push_back(eod_);
    encode_tokens(ids_, type_, out.tokens);
    out.lengths.push_back(static_cast<int32_t>(ids_.size()));
    ++out.sequences.back();
  }

  const Tokenizer& tokenizer_;
  DocumentParser parser_;
  TokenType type_;
  int32_t eod_;
  std::unique_ptr<SentenceSplitter> splitter_;
  std::vector<int32_t> ids_;
};

// Reader thread -> workers -> next(), which gives the batches in order. What is in flight is bounded
// in bytes; at least one batch always is, so that a huge one passes too.
class PackPipeline {
 public:
  PackPipeline(const Tokenizer& tokenizer, const PackOptions& options, TokenType type, int32_t eod,
               InputPosition start, int workers)
      : reader_(options.inputs, options.documents, start),
        limit_(kBytesInFlight + kBytesInFlightPerWorker * static_cast<uint64_t>(workers)) {
    for (int w = 0; w < workers; ++w)
      packers_.push_back(std::make_unique<BatchPacker>(tokenizer, options, type, eod));
    threads_.emplace_back([this] { read(); });
    for (const auto& packer : packers_) threads_.emplace_back([this, &packer] { work(*packer); });
  }
  ~PackPipeline() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  PackPipeline(const PackPipeline&) = delete;
  PackPipeline& operator=(const PackPipeline&) = delete;

  uint64_t total_bytes() const { return reader_.total_bytes(); }

  // The next batch in the order of the input; false at its end. Throws what the reader threw.
  bool next(PackedBatch& out) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return packed_.contains(next_) || (read_all_ && next_ == batches_read_); });
    const auto found = packed_.find(next_);
    if (found == packed_.end()) {
      if (read_error_) std::rethrow_exception(read_error_);
      return false;
    }
    out = std::move(found->second);
    packed_.erase(found);
    ++next_;
    in_flight_ -= out.charge;
    changed_.notify_all();
    return true;
  }

 private:
  void read() {
    std::exception_ptr error;
    try {
      for (DocumentBatch batch; reader_.next(batch); batch = {}) {
        std::unique_lock lock(mutex_);
        const uint64_t charge = batch.storage.capacity();
        changed_.wait(lock, [&] { return stopped_ || in_flight_ == 0 || in_flight_ + charge <= limit_; });
        if (stopped_) break;
        in_flight_ += charge;
        waiting_.push_back(std::move(batch));
        ++batches_read_;
        changed_.notify_all();
      }
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    read_error_ = error;
    read_all_ = true;
    changed_.notify_all();
  }

  void work(BatchPacker& packer) {
    for (;;) {
      DocumentBatch batch;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopped_ || !waiting_.empty() || read_all_; });
        if (stopped_ || waiting_.empty()) return;
        batch = std::move(waiting_.front());
        waiting_.pop_front();
      }
      PackedBatch packed = packer.pack(batch);
      packed.charge = batch.storage.capacity();
      const std::lock_guard lock(mutex_);
      packed_.emplace(batch.index, std::move(packed));
      changed_.notify_all();
    }
  }

  DocumentReader reader_;
  std::vector<std::unique_ptr<BatchPacker>> packers_;
  const uint64_t limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<DocumentBatch> waiting_;
  std::map<uint64_t, PackedBatch> packed_;
  uint64_t next_ = 0, batches_read_ = 0, in_flight_ = 0;
  bool stopped_ = false, read_all_ = false;
  std::exception_ptr read_error_;
  std::vector<std::thread> threads_;  // last: they use all of the above
};

void remove_parts(const fs::path& dataset) {
  for (const char* what : {".bin.part", ".idx.lengths.part", ".idx.documents.part"})
    fs::remove(dataset.string() + what);
}

void remove_output(const fs::path& dataset) {
  fs::remove(idx_path(dataset));
  fs::remove(bin_path(dataset));
  remove_parts(dataset);
  fs::remove(pack_journal_path(dataset));
}

// A run that died after its last rename, before it could say so: the dataset is there, whole.
bool died_after_commit(const PackJournal& journal, const fs::path& dataset) {
  if (!fs::exists(bin_path(dataset)) || !fs::exists(idx_path(dataset))) return false;
  const IndexedDataset data(dataset);
  return static_cast<uint64_t>(data.num_tokens()) == journal.output.tokens &&
         static_cast<uint64_t>(data.num_documents()) == journal.output.documents;
}

// Where to go on: nothing yet, or what an earlier run of the same work left.
PackJournal start_or_resume(const Tokenizer& tokenizer, const PackOptions& options, const fs::path& dataset) {
  PackJournal now = make_pack_journal(tokenizer, options);
  if (options.force) remove_output(dataset);
  const auto before = read_pack_journal(dataset);
  if (!before) {
    check(!fs::exists(bin_path(dataset)) && !fs::exists(idx_path(dataset)),
          "{} exists already; choose another output, or say --force to replace it", bin_path(dataset).string());
    // Parts without a journal are what a run left that died before its first entry.
    return now;
  }
  const std::string difference = pack_difference(*before, now);
  check(difference.empty(), "{} was begun with something else: {}; choose another output, or say --force to pack anew",
        dataset.string(), difference);
  return *before;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

fs::path packed_dataset_path(const PackOptions& options) {
  return fmt::format("{}_{}_{}", options.output.string(), options.documents.field,
                     options.sentences ? "sentence" : "document");
}

PackReport pack_documents(const Tokenizer& tokenizer, const PackOptions& options) {
  check(!options.inputs.empty(), "no input files were given");
  check(!options.output.empty(), "no output was given");
  const auto began = std::chrono::steady_clock::now();
  PackReport report;
  report.dataset = packed_dataset_path(options);
  PackJournal journal = start_or_resume(tokenizer, options, report.dataset);
  report.resumed_documents = journal.output.documents;
  if (!journal.complete && died_after_commit(journal, report.dataset)) {
    remove_parts(report.dataset);
    journal.complete = true;
    write_pack_journal(report.dataset, journal);
  }
  report.was_complete = journal.complete;
  const auto finish_report = [&] {
    report.documents = journal.output.documents;
    report.tokens = journal.output.tokens;
    report.text_bytes = journal.text_bytes;
    report.bad_records = journal.bad_records;
    report.seconds = seconds_since(began);
    return report;
  };
  if (journal.complete) {
    // The files themselves are the proof that it is.
    const IndexedDataset data(report.dataset);
    check(static_cast<uint64_t>(data.num_tokens()) == journal.output.tokens,
          "{}: is not the dataset that was packed here; say --force to pack anew", data.path().string());
    return finish_report();
  }

  const TokenType type = token_type_for(tokenizer.vocab_size());
  IndexedDatasetWriter writer(report.dataset, type, {.keep_parts = true}, journal.output);
  const int workers = options.threads > 0 ? options.threads : available_cores();
  PackPipeline pipeline(tokenizer, options, type, static_cast<int32_t>(journal.eod), journal.input, workers);
  std::optional<Progress> progress;
  const auto save = [&] {
    journal.output = writer.sync();
    write_pack_journal(report.dataset, journal);
  };
  auto saved = began;
  try {
    for (PackedBatch batch; pipeline.next(batch);) {
      if (batch.error) std::rethrow_exception(batch.error);
      writer.add_block(batch.tokens, batch.lengths, batch.sequences);
      journal.input = batch.end;
      journal.text_bytes += batch.text_bytes;
      journal.bad_records += batch.bad.count;
      for (const std::string& example : batch.bad.examples)
        if (report.bad_examples.size() < 5) report.bad_examples.push_back(example);
      if (options.show_progress) {
        // What an earlier run read is known with the first batch only.
        if (!progress) progress.emplace("packing", pipeline.total_bytes(), ProgressOptions{.start = batch.source_bytes});
        progress->note(fmt::format("{} tokens", format_count(static_cast<double>(writer.position().tokens))));
        progress->update(batch.source_bytes);
      }
      if (seconds_since(saved) >= options.journal_seconds) {
        save();
        saved = std::chrono::steady_clock::now();
      }
    }
  } catch (...) {
    // What is packed stays packed: a bad record can be skipped by the same call with skip_bad.
    if (writer.position().documents > 0) {
      save();
    } else {
      remove_parts(report.dataset);
    }
    throw;
  }
  save();
  writer.commit();
  journal.complete = true;
  write_pack_journal(report.dataset, journal);
  return finish_report();
}

std::vector<fs::path> expand_inputs(const std::vector<fs::path>& inputs) {
  const std::set<std::string> known = {".jsonl", ".json", ".ndjson", ".txt", ".text", ".md"};
  std::vector<fs::path> files;
  for (const fs::path& input : inputs) {
    if (!fs::is_directory(input)) {
      files.push_back(input);
      continue;
    }
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(input)) {
      fs::path name = entry.path().filename();
      if (name.extension() == ".gz" || name.extension() == ".zst") name.replace_extension();
      if (entry.is_regular_file() && known.contains(name.extension().string())) found.push_back(entry.path());
    }
    check(!found.empty(), "{}: there are no .jsonl or .txt files in this folder", input.string());
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

}  // namespace triax
