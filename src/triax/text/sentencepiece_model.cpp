#include "triax/text/sentencepiece_model.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "triax/base/error.h"
#include "triax/base/text.h"

namespace triax::text {
namespace {

// Fields of a protocol buffer, one after the other.
class Fields {
 public:
  Fields(const std::string& name, std::string_view message) : name_(name), rest_(message) {}

  // The next field; false at the end. Exactly one of the values below belongs to it.
  bool next() {
    if (rest_.empty()) return false;
    const uint64_t key = varint();
    number = static_cast<uint32_t>(key >> 3);
    wire = static_cast<uint32_t>(key & 7);
    value = 0;
    bytes = {};
    switch (wire) {
      case 0: value = varint(); break;
      case 1: bytes = take(8); break;
      case 2: bytes = take(varint()); break;
      case 5: bytes = take(4); break;
      default: fail("{}: is not a SentencePiece model, or is damaged (field {} has the wire type {})", name_, number, wire);
    }
    return true;
  }
  bool flag() const { return expect(0), value != 0; }
  uint64_t integer() const { return expect(0), value; }
  std::string_view string() const { return expect(2), bytes; }
  float real() const {
    expect(5);
    float result;
    std::memcpy(&result, bytes.data(), sizeof result);
    return result;
  }

  uint32_t number = 0;

 private:
  void expect(uint32_t type) const {
    check(wire == type, "{}: field {} of the model has the wire type {}, not {}; the file is damaged", name_, number, wire, type);
  }
  std::string_view take(uint64_t size) {
    check(size <= rest_.size(), "{}: is cut off, or no SentencePiece model (a field of {} bytes, {} are left)", name_, size,
          rest_.size());
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  uint64_t varint() {
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      result |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return result;
    }
    fail("{}: is not a SentencePiece model, or is damaged (a number of more than 64 bits)", name_);
  }

  const std::string& name_;
  std::string_view rest_;
  uint32_t wire = 0;
  uint64_t value = 0;
  std::string_view bytes;
};

SentencePieceModel::Piece parse_piece(const std::string& name, std::string_view bytes, size_t id) {
  SentencePieceModel::Piece piece;
  Fields field(name, bytes);
  while (field.next()) {
    if (field.number == 1) piece.text = field.string();
    if (field.number == 2) piece.score = field.real();
    if (field.number == 3) {
      const uint64_t kind = field.integer();
      check(kind >= 1 && kind <= 6, "{}: piece {} has the unknown type {}", name, id, kind);
      piece.kind = static_cast<SentencePieceModel::Kind>(kind);
    }
  }
  check(!piece.text.empty() && piece.text.find('\0') == std::string::npos && find_invalid_utf8(piece.text) == std::string::npos,
        "{}: piece {} is empty or not UTF-8", name, id);
  check(std::isfinite(piece.score), "{}: piece {} (\"{}\") has the score {}", name, id, piece.text, piece.score);
  return piece;
}

void parse_trainer(const std::string& name, std::string_view bytes, SentencePieceModel& model) {
  Fields field(name, bytes);
  while (field.next()) {
    if (field.number == 3) {
      const uint64_t type = field.integer();
      check(type == 1 || type == 2, "{}: is a model of type {} (3: word, 4: character); Unigram and BPE are supported", name, type);
      model.type = static_cast<SentencePieceModel::Type>(type);
    }
    if (field.number == 24) model.whitespace_as_suffix = field.flag();
    if (field.number == 35) model.byte_fallback = field.flag();
    if (field.number == 44) model.unk_surface = field.string();
  }
}

void parse_normalizer(const std::string& name, std::string_view bytes, SentencePieceModel& model) {
  Fields field(name, bytes);
  while (field.next()) {
    if (field.number == 2) model.charsmap = field.string();
    if (field.number == 3) model.add_dummy_prefix = field.flag();
    if (field.number == 4) model.remove_extra_whitespaces = field.flag();
    if (field.number == 5) model.escape_whitespaces = field.flag();
  }
}

// One unit of the double array (Yata et al. 2007, as in Darts-clone): where its children lie relative to it, the byte
// that leads to it, whether a value follows.
struct Unit {
  uint32_t bits;
  uint32_t offset() const { return (bits >> 10) << ((bits & (1u << 9)) >> 6); }
  uint32_t label() const { return bits & (1u << 31 | 0xFF); }
  bool has_leaf() const { return (bits >> 8 & 1) != 0; }
  uint32_t value() const { return bits & ~(1u << 31); }
};

// Walks everything that a text could reach.
void check_charsmap(const std::string& name, std::string_view charsmap) {
  if (charsmap.empty()) return;
  const auto damaged = [&](bool good) {
    check(good, "{}: the table of its normalizer (precompiled_charsmap) is damaged", name);
  };
  uint32_t trie_bytes = 0;
  damaged(charsmap.size() > sizeof trie_bytes);
  std::memcpy(&trie_bytes, charsmap.data(), sizeof trie_bytes);
  damaged(trie_bytes % 1024 == 0 && trie_bytes > 0 && trie_bytes < charsmap.size() - sizeof trie_bytes);
  const std::string_view strings = charsmap.substr(sizeof trie_bytes + trie_bytes);
  damaged(strings.back() == '\0');
  const size_t units = trie_bytes / 4;  // a multiple of 256, so that exchanging the last byte stays inside
  const auto unit_at = [&](size_t i) {
    Unit unit;
    std::memcpy(&unit, charsmap.data() + sizeof trie_bytes + i * 4, 4);
    return unit;
  };
  std::vector<bool> seen(units);
  std::vector<size_t> waiting = {0};
  seen[0] = true;
  while (!waiting.empty()) {
    const size_t at = waiting.back();
    waiting.pop_back();
    const Unit unit = unit_at(at);
    const size_t base = at ^ unit.offset();
    damaged(base < units);
    if (unit.has_leaf()) damaged(unit_at(base).value() < strings.size());
    for (size_t byte = 1; byte < 256; ++byte) {
      const size_t child = base ^ byte;
      if (seen[child] || unit_at(child).label() != byte) continue;
      seen[child] = true;
      waiting.push_back(child);
    }
  }
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(const std::string& name, std::string_view file) {
  SentencePieceModel model;
  Fields field(name, file);
  while (field.next()) {
    if (field.number == 1) model.pieces.push_back(parse_piece(name, field.string(), model.pieces.size()));
    if (field.number == 2) parse_trainer(name, field.string(), model);
    if (field.number == 3) parse_normalizer(name, field.string(), model);
  }
  check(!model.pieces.empty(), "{}: holds no pieces; is it a SentencePiece model?", name);
  check(!model.whitespace_as_suffix, "{}: writes white space behind words (treat_whitespace_as_suffix), which is not supported", name);
  check_charsmap(name, model.charsmap);
  return model;
}

}  // namespace triax::text
