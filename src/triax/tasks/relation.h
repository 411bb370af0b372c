// Sentences with two marked entities, as relation extraction reads them: "<< gene >> ... [[ chemical ]]"
// (ChemProt as distributed with SciBERT), "@GENE$ ... @CHEMICAL$" (BioBERT, the names hidden), or
// "[E1] a [/E1] ... [E2] b [/E2]".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "triax/tasks/cases.h"
#include "triax/text/tokenizer.h"

namespace triax::tasks {

struct MarkedEntity {
  ByteRange whole;  // with its marks
  ByteRange name;   // without; of "@GENE$" the whole
};

struct MarkedPair {
  MarkedEntity first, second;  // in the order of << >>, [[ ]]; E1, E2; or of the text for @...$
};

// Absent, with the reason, unless exactly two entities are marked, in one style, without overlap.
std::optional<MarkedPair> find_marked(std::string_view text, std::string& reason);

// The text with both names replaced, such as by "@GENE$" and "@CHEMICAL$".
std::string hide_names(std::string_view text, const MarkedPair& pair, std::string_view first, std::string_view second);

// Removes cases that do not mark two entities, or throws.
void check_marks(CaseFile& file, const std::filesystem::path& path, const ReadOptions& options);

// The five groups that ChemProt is scored on (Krallinger et al. 2017, BioCreative VI): "CPR:3" for the
// up-regulators and so on; "false" for types that are not scored. Hyphens and underscores are the same.
std::string chemprot_group(std::string_view type);

}  // namespace triax::tasks
