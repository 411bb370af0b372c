#include "text/fixture.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "triax/base/file.h"
#include "triax/text/utf8.h"

namespace triax::test {
namespace fs = std::filesystem;
using Json = nlohmann::json;
namespace {

Json read_json(const fs::path& path) { return Json::parse(read_file(path)); }

std::vector<EncodingCase> encoding_cases(const Json& list) {
  std::vector<EncodingCase> cases;
  for (const Json& item : list) cases.push_back({item.at("text"), item.at("ids")});
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
    result.pools = json.at("pools");
    result.cases = encoding_cases(json.at("cases"));
    result.special = encoding_cases(json.at("special"));
    for (const Json& item : json.at("repeated"))
      result.repeated.push_back({item.at("unit"), item.at("times"), item.at("count"), item.at("digest")});
    result.random_batches = json.at("random_batches");
    return result;
  }();
  return cases;
}

std::vector<WordPieceCase> wordpiece_cases(std::string_view folder) {
  std::vector<WordPieceCase> cases;
  for (const Json& item : read_json(data_path(folder) / "cases.json"))
    cases.push_back({item.at("text"), item.at("decoded"), item.at("ids"), item.at("offsets")});
  return cases;
}

std::vector<std::string> word_end_digests() { return read_json(data_path("word_ends.json")); }

std::vector<std::string> corpus() {
  std::vector<std::string> documents;
  const std::string lines = read_file(data_path("corpus.jsonl"));
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = lines.find('\n', begin);
    documents.push_back(Json::parse(lines.substr(begin, end - begin)));
    begin = end + 1;
  }
  return documents;
}

std::vector<InputCase> input_cases() {
  std::vector<InputCase> cases;
  for (const Json& item : read_json(data_path("inputs.json"))) {
    InputCase c{item.at("name"), item.at("first"), item.at("cut"), item.at("side"), item.at("post_processor"), std::nullopt,
                item.at("length"), item.at("stride"), {}};
    if (!item.at("second").is_null()) c.second = item.at("second").get<std::string>();
    for (const Json& window : item.at("windows")) c.windows.emplace_back(window.at(0), window.at(1));
    cases.push_back(std::move(c));
  }
  return cases;
}

std::vector<std::pair<std::string, int32_t>> vocabulary_of(const fs::path& tokenizer_json) {
  std::vector<std::pair<std::string, int32_t>> result;
  const Json json = read_json(tokenizer_json);
  for (const auto& [token, id] : json.at("model").at("vocab").items()) result.emplace_back(token, id);
  return result;
}

std::vector<std::string> merges_of(const fs::path& tokenizer_json) {
  std::vector<std::string> result;
  const Json json = read_json(tokenizer_json);
  for (const Json& merge : json.at("model").at("merges"))
    result.push_back(merge.is_string() ? merge.get<std::string>()
                                       : merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>());
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
  for (const Json& unit : json.at("long")) result.units.emplace_back(unit.at(0), unit.at(1));
  for (const auto& [name, item] : json.at("tokenizers").items()) {
    Sweep::Expected expected{name, {}, item.at("long"), item.at("corpus")};
    const std::string digests = item.at("batches");
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
