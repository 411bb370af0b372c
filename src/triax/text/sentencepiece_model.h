// What a SentencePiece .model file says: a protocol buffer, read here by hand and checked down to the trie of its
// normalizer, because the library that encodes with it trusts the file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace triax::text {

struct SentencePieceModel {
  enum class Type : uint8_t { unigram = 1, bpe = 2, word = 3, character = 4 };
  enum class Kind : uint8_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    Kind kind = Kind::normal;
  };

  std::vector<Piece> pieces;
  Type type = Type::unigram;
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  std::string charsmap;  // what characters become: size of a double-array trie, the trie, strings
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  std::string unk_surface = " \xE2\x81\x87 ";  // what <unk> is decoded to
};

// Throws Error, naming `name`, where the file is cut off or says what no model can mean. Memory is in proportion to
// the size of the file.
SentencePieceModel parse_sentencepiece_model(const std::string& name, std::string_view file);

}  // namespace triax::text
