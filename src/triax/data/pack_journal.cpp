#include "triax/data/pack_journal.h"


#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/base/json.h"

namespace triax {
namespace fs = std::filesystem;

namespace {

const char* format_name(DocumentFormat format) {
  switch (format) {
    case DocumentFormat::automatic: return "auto";
    case DocumentFormat::jsonl: return "jsonl";
    case DocumentFormat::text: return "text";
    case DocumentFormat::paragraphs: return "paragraphs";
  }
  return "?";
}

constexpr const char* kProbe = "The year's 1,234 naïve café-goers said: \"It isn't 3.14!\"\n\tfoo_bar(x) // 中文 🙂\n";

}  // namespace

uint64_t tokenizer_fingerprint(const Tokenizer& tokenizer) {
  Hasher hasher;
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string text = tokenizer.token_text(static_cast<int32_t>(id));
    const uint64_t size = text.size();
    hasher.update(&size, sizeof size);
    hasher.update(text.data(), text.size());
  }
  const auto ids = tokenizer.encode(kProbe);
  hasher.update(ids.data(), ids.size() * sizeof(int32_t));
  return hasher.digest();
}

PackJournal make_pack_journal(const Tokenizer& tokenizer, const PackOptions& options) {
  PackJournal journal;
  for (const fs::path& path : options.inputs) {
    check(fs::exists(path), "{} does not exist", path.string());
    const auto absolute = fs::weakly_canonical(path);
    const bool regular = fs::is_regular_file(path);
    journal.inputs.push_back({absolute.string(), regular ? fs::file_size(path) : 0,
                              regular ? static_cast<int64_t>(fs::last_write_time(path).time_since_epoch().count()) : 0});
  }
  journal.tokenizer_kind = tokenizer.kind();
  journal.tokenizer_fingerprint = hex64(tokenizer_fingerprint(tokenizer));
  journal.vocab_size = tokenizer.vocab_size();
  if (options.append_eod && !options.sentences) {
    const auto eod = tokenizer.special_tokens().eod;
    check(eod.has_value(), "the tokenizer has no token that ends a document; add one to its vocabulary, or say --no-eod");
    journal.eod = *eod;
  }
  journal.format = format_name(options.documents.format);
  journal.field = options.documents.field;
  journal.sentences = options.sentences ? options.language : "";
  journal.max_document_bytes = options.documents.max_document_bytes;
  journal.input = options.documents.range.begin;
  return journal;
}

fs::path pack_journal_path(const fs::path& dataset) { return dataset.string() + ".pack.json"; }

std::optional<PackJournal> read_pack_journal(const fs::path& dataset) {
  const fs::path path = pack_journal_path(dataset);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  try {
    const Json j = Json::parse(read_file(path), path.string());
    PackJournal journal;
    for (const Json& input : j["inputs"])
      journal.inputs.push_back({input["path"].text(), input["bytes"].count(), input["modified"].integer()});
    const Json& tokenizer = j["tokenizer"];
    journal.tokenizer_kind = tokenizer["kind"].text();
    journal.tokenizer_fingerprint = tokenizer["fingerprint"].text();
    journal.vocab_size = tokenizer["vocab_size"].integer();
    journal.eod = j["eod"].integer();
    journal.format = j["format"].text();
    journal.field = j["field"].text();
    journal.sentences = j["sentences"].text();
    journal.max_document_bytes = j["max_document_bytes"].count();
    const Json& done = j["done"];
    journal.input = {done["file"].count(), done["offset"].count(), done["line"].count()};
    journal.output = {done["tokens"].count(), done["sequences"].count(), done["documents"].count()};
    journal.text_bytes = done["text_bytes"].count();
    journal.bad_records = done["bad_records"].count();
    journal.complete = j["complete"].boolean();
    return journal;
  } catch (const Error& error) {
    fail("{}: cannot be understood ({}); say --force to pack anew", path.string(), error.what());
  }
}

void write_pack_journal(const fs::path& dataset, const PackJournal& journal) {
  Json inputs = Json::array();
  for (const auto& input : journal.inputs)
    inputs.push_back({{"path", input.path}, {"bytes", input.bytes}, {"modified", input.modified}});
  const Json j = {
      {"inputs", inputs},
      {"tokenizer", {{"kind", journal.tokenizer_kind}, {"fingerprint", journal.tokenizer_fingerprint}, {"vocab_size", journal.vocab_size}}},
      {"eod", journal.eod},
      {"format", journal.format},
      {"field", journal.field},
      {"sentences", journal.sentences},
      {"max_document_bytes", journal.max_document_bytes},
      {"done",
       {{"file", journal.input.file}, {"offset", journal.input.offset}, {"line", journal.input.line},
        {"tokens", journal.output.tokens}, {"sequences", journal.output.sequences}, {"documents", journal.output.documents},
        {"text_bytes", journal.text_bytes}, {"bad_records", journal.bad_records}}},
      {"complete", journal.complete}};
  write_file_atomic(pack_journal_path(dataset), j.dump(1) + "\n");
}

std::string pack_difference(const PackJournal& before, const PackJournal& now) {
  if (before.inputs.size() != now.inputs.size()) return "there are other input files";
  for (size_t i = 0; i < now.inputs.size(); ++i) {
    if (before.inputs[i].path != now.inputs[i].path) return fmt::format("{} stands where {} was", now.inputs[i].path, before.inputs[i].path);
    if (before.inputs[i] != now.inputs[i]) return fmt::format("the file {} has changed", now.inputs[i].path);
  }
  if (before.tokenizer_fingerprint != now.tokenizer_fingerprint || before.vocab_size != now.vocab_size) return "the tokenizer is another";
  if (before.eod != now.eod) return "the end-of-document token is another";
  if (before.format != now.format || before.field != now.field) return "the format or field of the documents is another";
  if (before.sentences != now.sentences) return "the language of the sentences is another";
  if (before.max_document_bytes != now.max_document_bytes) return "the longest document allowed is another";
  return {};
}

}  // namespace triax
