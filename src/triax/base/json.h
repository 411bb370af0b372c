// A JSON value: read from files that are small or read once, and written. Text datasets and checkpoint headers
// are read with simdjson instead, without building values.
//
// The parser is nlohmann-json's, known to json.cpp alone: its headers take longer to compile than most of our
// sources do.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace triax {

class Json {
 public:
  enum class Kind : uint8_t { null, boolean, integer, number, text, array, object };
  using Member = std::pair<std::string_view, Json>;

  Json() = default;
  Json(std::nullptr_t) {}
  Json(std::same_as<bool> auto value) : kind_(Kind::boolean), integer_(value) {}
  Json(std::integral auto value) requires(!std::same_as<decltype(value), bool>)
      : kind_(Kind::integer), integer_(static_cast<int64_t>(value)) {}
  Json(std::floating_point auto value) : kind_(Kind::number), number_(value) {}  // NaN and infinity are written as null
  Json(std::string value) : kind_(Kind::text), text_(std::move(value)) {}
  Json(std::string_view value) : Json(std::string(value)) {}
  Json(const char* value) : Json(std::string(value)) {}
  Json(std::initializer_list<Member> members);  // {{"name", value}, ...}
  template <class T>
  Json(const std::vector<T>& values) : kind_(Kind::array), values_(values.begin(), values.end()) {}

  static Json array(std::initializer_list<Json> values = {});
  static Json object() { return Json(std::initializer_list<Member>{}); }

  // Throws Error naming `what` (a file) and the line where it ceases to be JSON.
  static Json parse(std::string_view text, std::string_view what);
  // null when it is not JSON.
  static Json parse_or_null(std::string_view text);

  bool is_null() const { return kind_ == Kind::null; }
  bool is_boolean() const { return kind_ == Kind::boolean; }
  bool is_integer() const { return kind_ == Kind::integer; }  // a whole number within int64
  bool is_number() const { return kind_ == Kind::integer || kind_ == Kind::number; }
  bool is_text() const { return kind_ == Kind::text; }
  bool is_array() const { return kind_ == Kind::array; }
  bool is_object() const { return kind_ == Kind::object; }

  // The value, if it is of that kind; else throw Error saying what it is.
  bool boolean() const;
  int64_t integer() const;
  uint64_t count() const;  // an integer from 0
  double number() const;
  const std::string& text() const;

  // Of arrays and objects; of anything else there are none.
  size_t size() const { return values_.size(); }
  bool empty() const { return values_.empty(); }
  auto begin() const { return values_.begin(); }
  auto end() const { return values_.end(); }
  auto begin() { return values_.begin(); }
  auto end() { return values_.end(); }
  // Of an object, in their order: for (const auto& [name, value] : json.members()).
  class Members;
  Members members() const;

  bool contains(std::string_view name) const { return find(name) != nullptr; }
  const Json* find(std::string_view name) const;    // null pointer: there is none
  const Json& at(std::string_view name) const;      // throws Error
  const Json& operator[](std::string_view name) const { return at(name); }
  Json& operator[](std::string_view name);          // adds it; makes an object of null
  const Json& operator[](size_t index) const;       // throws Error
  Json& push_back(Json value);                      // makes an array of null
  void update(const Json& object);                  // sets all its members

  // On one line, or with every value on its own when indent >= 0. Bytes that are not UTF-8 become U+FFFD.
  std::string dump(int indent = -1) const;

  bool operator==(const Json& other) const = default;

 private:
  class Builder;
  void write(std::string& out, int indent, int depth) const;
  [[noreturn]] void fail_as(const char* wanted) const;

  Kind kind_ = Kind::null;
  int64_t integer_ = 0;  // of booleans too
  double number_ = 0;
  std::string text_;
  std::vector<std::string> names_;  // of an object, as many as values_
  std::vector<Json> values_;
};

class Json::Members {
 public:
  struct Iterator {
    const std::string* name;
    const Json* value;
    std::pair<const std::string&, const Json&> operator*() const { return {*name, *value}; }
    Iterator& operator++() { return ++name, ++value, *this; }
    bool operator!=(const Iterator& other) const { return name != other.name; }
  };
  explicit Members(const Json& json) : json_(&json) {}
  Iterator begin() const { return {json_->names_.data(), json_->values_.data()}; }
  Iterator end() const { return {json_->names_.data() + json_->names_.size(), nullptr}; }

 private:
  const Json* json_;
};

inline Json::Members Json::members() const { return Members(*this); }

}  // namespace triax
