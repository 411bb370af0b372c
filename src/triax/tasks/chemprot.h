// ChemProt in the files of BioCreative VI (Krallinger et al. 2017), and DrugProt's of BioCreative VII, which have the
// same form. Columns are parted by tabs, entities are numbered within their article:
//
//   ..._abstracts.tsv      article, title, abstract
//   ..._entities.tsv       article, T1, CHEMICAL or GENE..., first character, one past the last, text
//   ..._relations.tsv      article, CPR:4, "Y " or "N ", INHIBITOR, Arg1:T7, Arg2:T2
//   ..._gold_standard.tsv  article, CPR:4, Arg1:T7, Arg2:T2          (also the relations of DrugProt, and predictions)
//
// Characters count in the title, one space and the abstract together.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "triax/tasks/cases.h"
#include "triax/tasks/entity_score.h"

namespace triax::tasks {

// Is it the file of abstracts of such a set? Told by its name, and the file of entities beside it.
bool is_chemprot_abstracts(const std::filesystem::path& path);

// Every chemical with every gene of the same sentence is a case: the sentence with "<< gene >>" and "[[ chemical ]]",
// labelled with their relation (the second column of the relations file), or "false" where there is none or its group is
// not among the five that are scored. Its id is "article T7 T2", the chemical first. `text` is that of the abstracts; without
// need_label the relations are not looked at. Out of reach are relations between sentences, of names within each other,
// and a second one of the same pair. Throws, naming file and line, where an entity's text is not at its
// place, a relation names an entity that is not there, and so on; such records are skipped when asked for.
CaseFile parse_chemprot(std::string_view text, const std::filesystem::path& path, const CaseOptions& options);

// One line a relation that was found, as the scorer of BioCreative reads them: of cases with ids as above.
std::string chemprot_line(std::string_view id, std::string_view label);

// The scorer's numbers: relations of a file are counted once each, by article, class and both entities; those of
// ChemProt's other groups do not count.
struct ChemprotScore {
  std::map<std::string, Counts> by_class;
  Counts total() const;
};
ChemprotScore score_chemprot(const std::filesystem::path& predictions, const std::filesystem::path& gold);

}  // namespace triax::tasks
