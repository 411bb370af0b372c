#include "triax/tasks/name_scan.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <array>

#include "triax/base/text.h"
#include "triax/text/utf8.h"

namespace triax::tasks {
namespace {

template <size_t N>
bool is_one_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_letter(uint32_t code) { return code != text::kInvalid && (U_GET_GC_MASK(static_cast<UChar32>(code)) & (U_GC_L_MASK | U_GC_M_MASK)); }
// Hyphens and apostrophes within a name.
bool joins(uint32_t code) { return code == '-' || code == '\'' || code == 0x2019 || code == 0x2010 || code == 0x2011; }

size_t word_end(std::string_view text, size_t at) {
  while (at < text.size()) {
    const auto c = text::decode_utf8(text, at);
    if (is_letter(c.code)) {
      at += c.length;
    } else if (joins(c.code) && at + c.length < text.size() && is_letter(text::decode_utf8(text, at + c.length).code)) {
      at += c.length;
    } else {
      break;
    }
  }
  return at;
}

}  // namespace

std::vector<Piece> pieces_of(std::string_view text) {
  std::vector<Piece> pieces;
  for (size_t at = 0; at < text.size();) {
    const auto c = text::decode_utf8(text, at);
    Piece piece{at, at + c.length, Piece::other, false};
    if (is_letter(c.code)) {
      piece.kind = Piece::word;
      piece.capital = u_isupper(static_cast<UChar32>(c.code));
      piece.end = word_end(text, at);
    } else if (is_digit(text[at])) {
      piece.kind = Piece::number;
      while (piece.end < text.size() && is_digit(text[piece.end])) ++piece.end;
    }
    at = piece.end;
    const bool space = piece.kind == Piece::other && u_isUWhiteSpace(static_cast<UChar32>(c.code));
    if (!space) pieces.push_back(piece);
  }
  return pieces;
}

bool is_year(std::string_view digits) {
  if (digits.size() != 4 || !std::all_of(digits.begin(), digits.end(), is_digit)) return false;
  return digits >= "1600" && digits <= "2099";
}

bool is_particle(std::string_view word) {
  constexpr std::array<std::string_view, 24> kParticles = {"van", "von", "der", "den", "de", "del", "della", "di", "da", "dos", "du", "la",
                                                           "le",  "el",  "al",  "bin", "ter", "ten", "ibn", "af", "zu", "zur", "vom", "do"};
  return is_one_of(word, kParticles);
}

bool is_never_a_surname(std::string_view word) {
  constexpr std::array<std::string_view, 64> kWords = {
      "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
      "Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov", "Dec", "Spring", "Summer", "Autumn", "Winter",
      "In", "Since", "During", "Until", "From", "By", "Between", "Before", "After", "The", "This", "These", "That", "And", "Of", "At", "On",
      "Table", "Figure", "Fig", "Version", "Section", "Chapter", "Volume", "Study", "Trial", "Year", "Office", "Windows", "Excel",
      "Helsinki", "Declaration", "Act", "Inc", "USA", "Guidelines"};
  return is_one_of(word, kWords);
}

bool is_initials(std::string_view word) {
  return !word.empty() && word.size() <= 5 && std::all_of(word.begin(), word.end(), [](char c) { return (c >= 'A' && c <= 'Z') || c == '-' || c == '.'; });
}

std::string folded_name(std::string_view name) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* decompose = icu::Normalizer2::getNFKDInstance(status);
  icu::UnicodeString wide = icu::UnicodeString::fromUTF8({name.data(), static_cast<int32_t>(name.size())});
  if (U_SUCCESS(status)) wide = decompose->normalize(wide, status);
  wide.foldCase();
  icu::UnicodeString letters;
  for (int32_t i = 0; i < wide.length(); i = wide.moveIndex32(i, 1))
    if (U_GET_GC_MASK(wide.char32At(i)) & U_GC_L_MASK) letters.append(wide.char32At(i));
  std::string out;
  letters.toUTF8String(out);
  return out;
}

}  // namespace triax::tasks
