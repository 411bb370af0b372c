// What `triax study` is told, as TOML: the factors of a study of domain language models (Shin et al. 2020,
// "BioMegatron", sections 3 and 4), each with its levels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace triax::study {

struct FactorSection {
  std::vector<std::string> corpora, vocabularies, sizes, starts = {"scratch"}, tasks;
  std::vector<int64_t> seeds = {1};
  bool cased = false;

  template <class V>
  void visit(V& v) {
    v("corpora", corpora, "\"name=files\", files as `triax pack` takes them, parted by spaces; \"none\": no pretraining but that of the start");
    v("vocabularies", vocabularies, "\"name=corpus:tokens\", a WordPiece vocabulary learned from it, or \"name=folder\"");
    v("cased", cased, "learned vocabularies keep capitals and accents");
    v("sizes", sizes, "\"name=layers x hidden x heads\", as in \"small=4x256x4\"");
    v("starts", starts, "\"scratch\"; \"name=corpus\": from a model pretrained on that one, with the first vocabulary; \"name=folder\": from a BERT of "
      "Hugging Face. Where the vocabulary is another one it is transferred");
    v("tasks", tasks, "\"name=kind:file\", a configuration of `triax finetune kind`; model, seeds and folder are the study's");
    v("seeds", seeds, "of fine-tuning; results are their mean and deviation").at_least(0);
  }
};

struct PretrainSection {
  std::string config;
  int64_t nproc = 0;

  template <class V>
  void visit(V& v) {
    v("config", config, "a configuration of `triax train`; the model's shape and vocabulary, data, start and folder are the study's");
    v("nproc", nproc, "ranks on this machine, as triax train --nproc; 0: one process").at_least(0);
  }
};

struct OutputSection {
  std::string dir;
  template <class V>
  void visit(V& v) {
    v("dir", dir, "folder of everything the study makes");
  }
};

struct StudyConfig {
  FactorSection factors;
  PretrainSection pretrain;
  OutputSection output;

  template <class V>
  void visit(V& v) {
    v.section("factors", factors, "what is varied; every combination is a cell of the study");
    v.section("pretrain", pretrain, "how models are pretrained");
    v.section("output", output, "where results go");
  }
};

}  // namespace triax::study
