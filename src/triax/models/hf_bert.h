// BERT in the files of Hugging Face: config.json and model.safetensors or its shards (transformers,
// models/bert/modeling_bert.py). All their matrices are [out, in] as ours; a layer's query, key and value
// are one tensor here:
//
//   embeddings.{word,position,token_type}_embeddings.weight   embedding.{token,position,type}
//   embeddings.LayerNorm.*                                    embedding.norm.*
//   encoder.layer.<i>.attention.self.{query,key,value}.*      layers.<i>.qkv.* [3, a, d, h]
//   encoder.layer.<i>.attention.output.dense.*, .LayerNorm.*  layers.<i>.attention_output.*, attention_norm.*
//   encoder.layer.<i>.intermediate.dense.*                    layers.<i>.mlp_up.*
//   encoder.layer.<i>.output.dense.*, .LayerNorm.*            layers.<i>.mlp_down.*, mlp_norm.*
//   pooler.dense.*                                            pooler.*
//   cls.predictions.transform.dense.*, .LayerNorm.*           masked.transform.*, masked.norm.*
//   cls.predictions.bias, cls.seq_relationship.*              masked.bias, order.*
//   classifier.* or qa_outputs.*                              classifier.*
//
// The pre-LayerNorm model is their megatron-bert: no embeddings.LayerNorm; encoder.layer.<i>.attention.ln.*,
// encoder.layer.<i>.ln.* and encoder.ln.* are attention_norm, mlp_norm and final_norm. All names
// with or without "bert." in front; old files say gamma and beta for the weight and bias of norms.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "triax/checkpoint/region.h"
#include "triax/models/bert.h"

namespace triax {

struct HfBertConfig {
  ModelConfig model = original_bert();
  BertHeadConfig head;               // as "architectures" says; none for what is no known head
  std::vector<std::string> labels;   // "id2label"; empty when the file has none
};

// Throws Error, naming file and key, for a model that is not BERT or has a variation that is not computed.
HfBertConfig read_hf_bert_config(const std::filesystem::path& directory);
std::string hf_bert_config_json(const HfBertConfig& config);

// Fills what a rank owns of the parameters from the directory, of which it reads no more. Parameters of the head (and the
// pooler) that the directory does not have keep what they hold; their names are returned. Throws when one of the encoder is
// missing, or has another shape. With `with_classifier` false the classifier is left as it is whatever the directory has.
std::vector<std::string> load_hf_bert(const std::filesystem::path& directory, bool post_norm, BertHead head, Parameters& parameters,
                                      bool with_classifier = true);
// The same for a whole model, ready to compute.
std::vector<std::string> load_hf_bert(const std::filesystem::path& directory, Bert& model);

// A tensor of such a directory, and what it is of ours.
struct HfBertTensor {
  std::string name;
  Shape shape;
  std::string parameter;
  Region region;  // of the parameter's global tensor
};
// In the order of the file.
std::vector<HfBertTensor> hf_bert_tensors(const HfBertConfig& config);

// Writes config.json and model.safetensors to an existing directory. A classifier of two layers has
// "classifier.hidden.*" besides, which only triax reads. `dtype`: of the numbers written.
void write_hf_bert(const std::filesystem::path& directory, const Bert& model, const std::vector<std::string>& labels,
                   DType dtype = DType::f32);
// The same of a model that may be nowhere whole: `values` is called for one tensor after the other, and gives its elements
// (f32), which need to live until the next call.
void write_hf_bert(const std::filesystem::path& directory, const HfBertConfig& config, DType dtype,
                   const std::function<Tensor(const HfBertTensor&)>& values);

}  // namespace triax
