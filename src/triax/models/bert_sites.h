// Random streams of dropout outside of the layers (which use layer * 8 + place).
#pragma once

#include <cstdint>

namespace triax::bert {

constexpr uint32_t kEmbeddingSite = 0xFFFFFFFFu;
constexpr uint32_t kHeadSite = 0xFFFFFFFEu;
constexpr uint32_t kHeadHiddenSite = 0xFFFFFFFDu;

}  // namespace triax::bert
