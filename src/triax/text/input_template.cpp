#include "triax/text/input_template.h"

#include "triax/base/error.h"
#include "triax/text/tokenizer_json.h"

namespace triax {

using Part = InputTemplate::Part;

InputTemplate plain_input_template() { return {.single = {{Part::first, 0}}, .pair = {{Part::first, 0}, {Part::second, 1}}}; }

InputTemplate bert_input_template(const SpecialTokens& special) {
  if (!special.cls || !special.sep) return plain_input_template();
  const int32_t cls = *special.cls, sep = *special.sep;
  return {.single = {{Part::special, 0, cls}, {Part::first, 0}, {Part::special, 0, sep}},
          .pair = {{Part::special, 0, cls}, {Part::first, 0}, {Part::special, 0, sep}, {Part::second, 1}, {Part::special, 1, sep}}};
}

namespace text {
namespace {

int32_t integer_at(const JsonFile& file, dom::object object, std::string_view key) {
  int64_t value = -1;
  const bool found = object.at_key(key).get(value) == simdjson::SUCCESS && value >= 0 && value <= INT32_MAX;
  check(found, "{}: \"{}\" in the post_processor must be a number from 0", file.name(), key);
  return static_cast<int32_t>(value);
}

dom::object needed_object(const JsonFile& file, dom::object object, std::string_view key) {
  const auto found = object_at(file, object, key);
  check(found.has_value(), "{}: the post_processor has no \"{}\"", file.name(), key);
  return *found;
}

// {"SpecialToken": {"id": "[CLS]", "type_id": 0}} or {"Sequence": {"id": "A", "type_id": 0}}
void parse_piece(const JsonFile& file, dom::element element, dom::object special_tokens, std::vector<InputTemplate::Piece>& out) {
  dom::object piece;
  check(element.get(piece) == simdjson::SUCCESS, "{}: a piece of the post_processor's template must be an object", file.name());
  if (const auto sequence = object_at(file, piece, "Sequence")) {
    const std::string_view id = string_or(file, *sequence, "id", "");
    check(id == "A" || id == "B", "{}: a template has the sequences A and B, not \"{}\"", file.name(), id);
    out.push_back({id == "A" ? Part::first : Part::second, integer_at(file, *sequence, "type_id")});
    return;
  }
  const dom::object token = needed_object(file, piece, "SpecialToken");
  const std::string_view name = string_or(file, token, "id", "");
  const auto entry = object_at(file, special_tokens, name);
  const auto ids = entry ? array_at(file, *entry, "ids") : std::nullopt;
  check(ids.has_value(), "{}: the template's special token \"{}\" has no ids", file.name(), name);
  for (const dom::element id : *ids) out.push_back({Part::special, integer_at(file, token, "type_id"), parse_id(file, id, name)});
}

std::vector<InputTemplate::Piece> parse_pieces(const JsonFile& file, dom::object processor, std::string_view key) {
  std::vector<InputTemplate::Piece> pieces;
  const auto list = array_at(file, processor, key);
  check(list.has_value(), "{}: the post_processor has no \"{}\"", file.name(), key);
  const auto special_tokens = object_at(file, processor, "special_tokens");
  for (const dom::element element : *list) parse_piece(file, element, special_tokens.value_or(dom::object()), pieces);
  return pieces;
}

// ["[SEP]", 102]
int32_t token_pair(const JsonFile& file, dom::object processor, std::string_view key) {
  const auto pair = array_at(file, processor, key);
  std::string_view name;
  check(pair && pair->size() == 2 && pair->at(0).get(name) == simdjson::SUCCESS,
        "{}: \"{}\" in the post_processor must be a token and its id", file.name(), key);
  return parse_id(file, pair->at(1).value(), name);
}

std::optional<InputTemplate> parse_processor(const JsonFile& file, dom::object processor) {
  const std::string_view type = string_or(file, processor, "type", "");
  if (type == "ByteLevel") return std::nullopt;  // adds nothing
  if (type == "TemplateProcessing")
    return InputTemplate{parse_pieces(file, processor, "single"), parse_pieces(file, processor, "pair")};
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    SpecialTokens special;
    special.cls = token_pair(file, processor, "cls");
    special.sep = token_pair(file, processor, "sep");
    InputTemplate result = bert_input_template(special);
    if (type == "RobertaProcessing") {  // <s> A </s></s> B </s>, all of type 0
      result.pair.insert(result.pair.begin() + 2, {Part::special, 0, *special.sep});
      for (auto& piece : result.pair) piece.type = 0;
    }
    return result;
  }
  check(type == "Sequence", "{}: post_processor \"{}\" is not known", file.name(), type);
  std::optional<InputTemplate> result;
  const auto parts = array_at(file, processor, "processors");
  check(parts.has_value(), "{}: the post_processor has no \"processors\"", file.name());
  for (const dom::element element : *parts) {
    dom::object part;
    check(element.get(part) == simdjson::SUCCESS, "{}: \"processors\" must hold objects", file.name());
    check(string_or(file, part, "type", "") != "Sequence", "{}: a post_processor Sequence within another is not read", file.name());
    const auto one = parse_processor(file, part);
    check(!one || !result, "{}: two post_processors add tokens; triax reads files where one does", file.name());
    if (one) result = one;
  }
  return result;
}

}  // namespace

InputTemplate parse_input_template(const JsonFile& file) {
  const auto processor = object_at(file, file.root(), "post_processor");
  const auto result = processor ? parse_processor(file, *processor) : std::nullopt;
  return result.value_or(plain_input_template());
}

}  // namespace text
}  // namespace triax
