// What a model is given around one or two texts: [CLS] A [SEP] B [SEP] for BERT, nothing for GPT. Comes from
// "post_processor" of tokenizer.json.
#pragma once

#include <cstdint>
#include <vector>

#include "triax/text/tokenizer.h"

namespace triax {

struct InputTemplate {
  enum class Part : uint8_t { first, second, special };
  struct Piece {
    Part part = Part::first;
    int32_t type = 0;  // token type of all that comes from this piece
    int32_t id = -1;   // of the special token
  };
  std::vector<Piece> single, pair;
};

// The texts one after the other, of types 0 and 1.
InputTemplate plain_input_template();
// [CLS] A [SEP], and [CLS] A [SEP] B [SEP] where B and what follows it have the type 1; the plain one where the
// vocabulary has no [CLS] or no [SEP].
InputTemplate bert_input_template(const SpecialTokens& special);

}  // namespace triax
