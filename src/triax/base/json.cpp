#include "triax/base/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "triax/base/error.h"

namespace triax {
namespace {

using Library = nlohmann::json;

// Deeper files would exhaust the stack when they are written or destroyed.
constexpr size_t kDeepest = 500;

std::string dump_with_library(const Library& value) { return value.dump(-1, ' ', false, Library::error_handler_t::replace); }

const char* name_of(Json::Kind kind) {
  constexpr const char* names[] = {"null", "true or false", "a whole number", "a number", "a text", "a list", "an object"};
  return names[static_cast<size_t>(kind)];
}

}  // namespace

// Takes the parser's events.
class Json::Builder {
 public:
  using number_integer_t = Library::number_integer_t;
  using number_unsigned_t = Library::number_unsigned_t;
  using number_float_t = Library::number_float_t;
  using string_t = Library::string_t;
  using binary_t = Library::binary_t;

  bool null() { return put({}); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(number_integer_t value) { return put(value); }
  bool number_unsigned(number_unsigned_t value) {
    if (value > static_cast<number_unsigned_t>(std::numeric_limits<int64_t>::max())) return put(static_cast<double>(value));
    return put(value);
  }
  bool number_float(number_float_t value, const string_t&) { return put(value); }
  bool string(string_t& value) { return put(std::move(value)); }
  bool binary(binary_t&) { return false; }
  bool start_object(size_t) { return open(Json::object()); }
  bool key(string_t& name) {
    open_.back()->names_.push_back(std::move(name));
    return true;
  }
  bool end_object() { return close(); }
  bool start_array(size_t) { return open(Json::array()); }
  bool end_array() { return close(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
    error_at_ = position;
    return false;
  }

  Json take() { return std::move(root_); }
  size_t error_at() const { return error_at_; }
  bool too_deep() const { return open_.size() >= kDeepest; }

 private:
  Json& place(Json value) {
    if (open_.empty()) return root_ = std::move(value);
    return open_.back()->values_.emplace_back(std::move(value));
  }
  bool put(Json value) { return place(std::move(value)), true; }
  bool open(Json value) {
    if (too_deep()) return false;
    open_.push_back(&place(std::move(value)));
    return true;
  }
  bool close() { return open_.pop_back(), true; }

  Json root_;
  std::vector<Json*> open_;  // the last of each one's values is the next, so that none of them moves
  size_t error_at_ = 0;
};

Json::Json(std::initializer_list<Member> members) : kind_(Kind::object) {
  for (const auto& [name, value] : members) {
    names_.emplace_back(name);
    values_.push_back(value);
  }
}

Json Json::array(std::initializer_list<Json> values) {
  Json json;
  json.kind_ = Kind::array;
  json.values_ = values;
  return json;
}

Json Json::parse(std::string_view text, std::string_view what) {
  Builder builder;
  if (Library::sax_parse(text.begin(), text.end(), &builder)) return builder.take();
  check(!builder.too_deep(), "{}: more than {} lists and objects within each other", what, kDeepest);
  const size_t at = std::min(builder.error_at(), text.size());
  const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  fail("{}:{}: not JSON (byte {} of the file)", what, line, at);
}

Json Json::parse_or_null(std::string_view text) {
  Builder builder;
  return Library::sax_parse(text.begin(), text.end(), &builder) ? builder.take() : Json();
}

void Json::fail_as(const char* wanted) const {
  const std::string value = dump();
  fail("{} is wanted, and this is {}: {}", wanted, name_of(kind_), value.size() > 60 ? value.substr(0, 60) + "..." : value);
}

bool Json::boolean() const {
  if (kind_ != Kind::boolean) fail_as("true or false");
  return integer_ != 0;
}

int64_t Json::integer() const {
  if (kind_ != Kind::integer) fail_as("a whole number");
  return integer_;
}

uint64_t Json::count() const {
  if (kind_ != Kind::integer || integer_ < 0) fail_as("a count");
  return static_cast<uint64_t>(integer_);
}

double Json::number() const {
  if (!is_number()) fail_as("a number");
  return kind_ == Kind::integer ? static_cast<double>(integer_) : number_;
}

const std::string& Json::text() const {
  if (kind_ != Kind::text) fail_as("a text");
  return text_;
}

// Of names that are there twice the last one counts, as everywhere.
const Json* Json::find(std::string_view name) const {
  for (size_t i = names_.size(); i-- > 0;)
    if (names_[i] == name) return &values_[i];
  return nullptr;
}

const Json& Json::at(std::string_view name) const {
  if (!is_object()) fail_as("an object");
  const Json* value = find(name);
  check(value != nullptr, "there is no \"{}\"", name);
  return *value;
}

Json& Json::operator[](std::string_view name) {
  if (is_null()) kind_ = Kind::object;
  if (!is_object()) fail_as("an object");
  if (const Json* value = find(name)) return const_cast<Json&>(*value);
  names_.emplace_back(name);
  return values_.emplace_back();
}

const Json& Json::operator[](size_t index) const {
  check(index < values_.size(), "there is no value {} in a list of {}", index, values_.size());
  return values_[index];
}

Json& Json::push_back(Json value) {
  if (is_null()) kind_ = Kind::array;
  if (!is_array()) fail_as("a list");
  return values_.emplace_back(std::move(value));
}

void Json::update(const Json& object) {
  for (size_t i = 0; i < object.names_.size(); ++i) (*this)[object.names_[i]] = object.values_[i];
}

std::string Json::dump(int indent) const {
  std::string out;
  write(out, indent, 0);
  return out;
}

void Json::write(std::string& out, int indent, int depth) const {
  switch (kind_) {
    case Kind::null: out += "null"; return;
    case Kind::boolean: out += integer_ != 0 ? "true" : "false"; return;
    case Kind::integer: out += std::to_string(integer_); return;
    case Kind::number: out += dump_with_library(number_); return;
    case Kind::text: out += dump_with_library(text_); return;
    default: break;
  }
  const auto new_line = [&](int to) {
    if (indent >= 0) out.append(1, '\n').append(static_cast<size_t>(indent * to), ' ');
  };
  out += is_object() ? '{' : '[';
  for (size_t i = 0; i < values_.size(); ++i) {
    if (i > 0) out += ',';
    new_line(depth + 1);
    if (is_object()) out += dump_with_library(names_[i]) + (indent >= 0 ? ": " : ":");
    values_[i].write(out, indent, depth + 1);
  }
  if (!empty()) new_line(depth);
  out += is_object() ? '}' : ']';
}

}  // namespace triax
