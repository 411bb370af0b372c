// A configuration's values and keys as text, for what reads them (config.cpp) and what prints them (config_print.cpp).
#pragma once

#include <string>
#include <string_view>

#include "triax/base/config.h"

namespace triax {

// For std::visit().
template <class... Ts>
struct Overload : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overload(Ts...) -> Overload<Ts...>;

// A TOML string, in quotation marks.
std::string quote_toml(std::string_view text);
// The shortest text that reads back as the same double; always with a point or an exponent.
std::string print_double(double value);
// "integer", "list of numbers", "choice" ...
const char* type_name(const ConfigField& field);
// "at least 1", "between 0 and 1"; empty without limits.
std::string limits_in_words(const ConfigField& field);

}  // namespace triax
