// What tests/text/data/make_fixture.py stored, and the generator of random texts that it shares with
// these tests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace triax::test {

// A 64-bit linear congruential generator (Knuth's MMIX constants).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint32_t below(uint32_t n) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>((state_ >> 33) % n);
  }

 private:
  uint64_t state_;
};

// FNV-1a over numbers, each as one step.
inline constexpr uint64_t kDigestStart = 0xCBF29CE484222325u;
uint64_t digest(std::span<const int32_t> numbers, uint64_t state = kDigestStart);

struct EncodingCase {
  std::string text;
  std::vector<int32_t> ids;
};
struct RepeatedCase {
  std::string unit;
  int times = 0;
  size_t count = 0;
  std::string digest;
};
struct BpeCases {
  std::vector<std::vector<std::string>> pools;  // of characters
  std::vector<EncodingCase> cases, special;
  std::vector<RepeatedCase> repeated;
  std::vector<std::string> random_batches;
};
const BpeCases& bpe_cases();

struct WordPieceCase {
  std::string text, decoded;
  std::vector<int32_t> ids;
  std::vector<std::pair<int64_t, int64_t>> offsets;
};
struct InputCase {
  std::string name, first, cut, side, post_processor;
  std::optional<std::string> second;
  int64_t length = 0, stride = 0;
  std::vector<std::pair<int64_t, std::string>> windows;  // tokens, digest
};
std::vector<InputCase> input_cases();
std::vector<WordPieceCase> wordpiece_cases(std::string_view folder);
std::vector<std::string> word_end_digests();
std::vector<std::string> corpus();
// Token and id of every entry of a tokenizer.json's vocabulary; its merges as "left right".
std::vector<std::pair<std::string, int32_t>> vocabulary_of(const std::filesystem::path& tokenizer_json);
std::vector<std::string> merges_of(const std::filesystem::path& tokenizer_json);

// The strings of make_sweep_fixture.py: those of batch b come one after the other from Random(kSweepSeed + b).
inline constexpr uint64_t kSweepSeed = 700000;
std::string sweep_text(Random& random);
struct Sweep {
  struct Expected {
    std::string name;                  // of a folder
    std::vector<std::string> batches;  // digests of 1,000 strings each
    std::vector<std::string> repeated;  // of each of `units`
    std::string corpus;
  };
  std::vector<std::pair<std::string, int>> units;  // repeated so many times
  std::vector<Expected> tokenizers;
};
Sweep sweep();

std::string random_text(Random& random);
std::string random_code_points(Random& random);
std::string random_bytes(Random& random, size_t length);

std::filesystem::path data_path(std::string_view name);
// Larger files that are not part of the project, such as GPT-2's vocabulary; nothing where they are
// absent, and the test is then skipped.
std::optional<std::filesystem::path> shared_data(std::string_view name);

}  // namespace triax::test
