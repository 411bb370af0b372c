#include "text/fixture.h"

#include <fmt/core.h>

#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/text/utf8.h"

namespace triax::test {
namespace fs = std::filesystem;
namespace {

Json read_json(const fs::path& path) { return Json::parse(read_file(path), path.string()); }

std::vector<std::string> texts_of(const Json& list) {
  std::vector<std::string> texts;
  for (const Json& item : list) texts.push_back(item.text());
  return texts;
}

int int_of(const Json& number) { return static_cast<int>(number.integer()); }

std::vector<int32_t> ids_of(const Json& list) {
  std::vector<int32_t> ids;
  for (const Json& item : list) ids.push_back(int_of(item));
  return ids;
}

std::vector<EncodingCase> encoding_cases(const Json& list) {
  std::vector<EncodingCase> cases;
  for (const Json& item : list) cases.push_back({item.at("text").text(), ids_of(item.at("ids"))});
  return cases;
}

}  // namespace

uint64_t digest(std::span<const int32_t> numbers, uint64_t state) {
  for (const int32_t number : numbers) state = (state ^ static_cast<uint32_t>(number)) * 0x100000001B3u;
  return state;
}

const BpeCases& bpe_cases() {
  static const BpeCases cases = [] {
    const Json json = read_json(data_path("bpe_cases.json"));
    BpeCases result;
    for (const Json& pool : json.at("pools")) result.pools.push_back(texts_of(pool));
    result.cases = encoding_cases(json.at("cases"));
    result.special = encoding_cases(json.at("special"));
    for (const Json& item : json.at("repeated"))
      result.repeated.push_back({item.at("unit").text(), int_of(item.at("times")), item.at("count").count(), item.at("digest").text()});
    result.random_batches = texts_of(json.at("random_batches"));
    return result;
  }();
  return cases;
}

std::vector<WordPieceCase> wordpiece_cases(std::string_view folder) {
  std::vector<WordPieceCase> cases;
  const Json json = read_json(data_path(folder) / "cases.json");
  for (const Json& item : json) {
    WordPieceCase c{item.at("text").text(), item.at("decoded").text(), ids_of(item.at("ids")), {}};
    for (const Json& range : item.at("offsets")) c.offsets.emplace_back(range[0].integer(), range[1].integer());
    cases.push_back(std::move(c));
  }
  return cases;
}

std::vector<std::string> word_end_digests() { return texts_of(read_json(data_path("word_ends.json"))); }

std::vector<std::string> corpus() {
  std::vector<std::string> documents;
  const std::string lines = read_file(data_path("corpus.jsonl"));
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = lines.find('\n', begin);
    documents.push_back(Json::parse(lines.substr(begin, end - begin), "corpus.jsonl").text());
    begin = end + 1;
  }
  return documents;
}

std::vector<InputCase> input_cases() {
  std::vector<InputCase> cases;
  const Json json = read_json(data_path("inputs.json"));
  for (const Json& item : json) {
    InputCase c{item.at("name").text(), item.at("first").text(), item.at("cut").text(), item.at("side").text(), item.at("post_processor").text(),
                std::nullopt, item.at("length").integer(), item.at("stride").integer(), {}};
    if (!item.at("second").is_null()) c.second = item.at("second").text();
    for (const Json& window : item.at("windows")) c.windows.emplace_back(window[0].integer(), window[1].text());
    cases.push_back(std::move(c));
  }
  return cases;
}

std::vector<std::pair<std::string, int32_t>> vocabulary_of(const fs::path& tokenizer_json) {
  std::vector<std::pair<std::string, int32_t>> result;
  const Json json = read_json(tokenizer_json);
  for (const auto& [token, id] : json.at("model").at("vocab").members()) result.emplace_back(token, int_of(id));
  return result;
}

std::vector<std::string> merges_of(const fs::path& tokenizer_json) {
  std::vector<std::string> result;
  const Json json = read_json(tokenizer_json);
  for (const Json& merge : json.at("model").at("merges"))
    result.push_back(merge.is_text() ? merge.text() : merge[0].text() + " " + merge[1].text());
  return result;
}

std::string random_text(Random& random) {
  const auto& pools = bpe_cases().pools;
  std::string text;
  const uint32_t parts = 1 + random.below(12);
  for (uint32_t part = 0; part < parts; ++part) {
    const auto& pool = pools[random.below(static_cast<uint32_t>(pools.size()))];
    const uint32_t characters = 1 + random.below(6);
    for (uint32_t i = 0; i < characters; ++i) text += pool[random.below(static_cast<uint32_t>(pool.size()))];
    if (random.below(3) == 0) text += ' ';
  }
  return text;
}

std::string random_code_points(Random& random) {
  std::string out;
  for (int i = 0; i < 40; ++i) {
    uint32_t code = random.below(2) != 0 ? random.below(0x110000) : random.below(0x3000);
    if (code >= 0xD800 && code < 0xE000) code -= 0x800;
    const char before = " '1a\n"[random.below(5)];
    if (random.below(2) != 0) out += before;
    const uint32_t times = 1 + random.below(2);
    for (uint32_t j = 0; j < times; ++j) text::append_utf8(code, out);
  }
  return out;
}

std::string random_words(Random& random) {
  constexpr std::string_view kLetters = "etaoinshrdlucmfwypvbgkjqxz";
  std::string text;
  for (uint32_t words = 1 + random.below(10); words > 0; --words) {
    text.append(random.below(3), ' ');
    std::string word;
    for (uint32_t letters = 1 + random.below(9); letters > 0; --letters) {
      const uint32_t first = random.below(26), second = random.below(26);
      word += kLetters[std::min(first, second)];
    }
    if (random.below(10) == 0)
      for (char& c : word) c = static_cast<char>(c - 'a' + 'A');
    text += word;
    if (random.below(6) == 0) text += ".,;!?'-\n"[random.below(8)];
  }
  return text;
}

std::string sweep_text(Random& random) {
  const uint32_t kind = random.below(4);
  return kind == 0 ? random_code_points(random) : kind == 1 ? random_words(random) : random_text(random);
}

Sweep sweep() {
  const Json json = read_json(data_path("sweep.json"));
  Sweep result;
  for (const Json& unit : json.at("long")) result.units.emplace_back(unit[0].text(), int_of(unit[1]));
  for (const auto& [name, item] : json.at("tokenizers").members()) {
    Sweep::Expected expected{name, {}, texts_of(item.at("long")), item.at("corpus").text()};
    const std::string& digests = item.at("batches").text();
    for (size_t at = 0; at < digests.size(); at += 16) expected.batches.push_back(digests.substr(at, 16));
    result.tokenizers.push_back(std::move(expected));
  }
  return result;
}

std::string random_bytes(Random& random, size_t length) {
  std::string bytes(length, '\0');
  for (char& c : bytes) c = static_cast<char>(random.below(256));
  return bytes;
}

fs::path data_path(std::string_view name) { return fs::path(TRIAX_TEST_DATA) / name; }

std::optional<fs::path> shared_data(std::string_view name) {
  for (const char* up : {"..", "../.."}) {
    const fs::path path = fs::path(TRIAX_SOURCE_DIR) / up / "shared/data" / name;
    if (fs::exists(path)) return path;
  }
  return std::nullopt;
}

}  // namespace triax::test
