#include <algorithm>
#include <array>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/models/hf_bert.h"
#include "triax/models/hf_config.h"

namespace triax {
namespace {

struct Architecture {
  BertHead head;
  const char* name;
};
constexpr std::array<Architecture, 6> kArchitectures = {{{BertHead::none, "BertModel"},
                                                         {BertHead::pretraining, "BertForPreTraining"},
                                                         {BertHead::tokens, "BertForTokenClassification"},
                                                         {BertHead::sequence, "BertForSequenceClassification"},
                                                         {BertHead::choice, "BertForMultipleChoice"},
                                                         {BertHead::spans, "BertForQuestionAnswering"}}};

double number_or(const Json& json, const char* key, double fallback, double largest, const std::string& path) {
  if (!json.contains(key) || json[key].is_null()) return fallback;
  check(json[key].is_number(), "{}: \"{}\" is {}, not a number", path, key, json[key].dump());
  const double value = json[key].number();
  check(value >= 0 && value <= largest, "{}: \"{}\" is {}; 0 to {} is expected", path, key, value, largest);
  return value;
}

std::string text_or(const Json& json, const char* key, const char* fallback, const std::string& path) {
  if (!json.contains(key) || json[key].is_null()) return fallback;
  check(json[key].is_text(), "{}: \"{}\" is {}, not a text", path, key, json[key].dump());
  return json[key].text();
}

std::vector<std::string> labels_of(const Json& json, const std::string& path) {
  std::vector<std::string> labels;
  if (!json.contains("id2label") || !json["id2label"].is_object()) return labels;
  const Json& names = json["id2label"];
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string key = std::to_string(i);
    check(names.contains(key) && names[key].is_text(), "{}: \"id2label\" has {} labels, but no name for {}", path, names.size(), key);
    labels.push_back(names[key].text());
  }
  return labels;
}

BertHeadConfig head_of(const Json& json, const std::vector<std::string>& labels, const std::string& path) {
  BertHeadConfig head;
  const bool named = json.contains("architectures") && json["architectures"].is_array() && json["architectures"].size() == 1 &&
                     json["architectures"][0].is_text();
  if (named)
    for (const Architecture& a : kArchitectures)
      if (json["architectures"][0] == a.name || json["architectures"][0] == "Megatron" + std::string(a.name)) head.head = a.head;
  head.num_labels = !labels.empty() ? static_cast<int64_t>(labels.size()) : size_or(json, "num_labels", 2, path);
  head.hidden_size = json.contains("triax_classifier_hidden_size") ? size_or(json, "triax_classifier_hidden_size", 0, path) : 0;
  head.dropout = number_or(json, "classifier_dropout", number_or(json, "hidden_dropout_prob", 0.1, 0.99, path), 0.99, path);
  return head;
}

}  // namespace

HfBertConfig read_hf_bert_config(const std::filesystem::path& directory) {
  const std::string path = (directory / "config.json").string();
  const Json json = Json::parse_or_null(read_file(path));
  check(json.is_object(), "{}: not a JSON object", path);
  const std::string type = text_or(json, "model_type", "", path);
  check(type == "bert" || type == "megatron-bert", "{}: \"model_type\" is \"{}\", neither \"bert\" nor \"megatron-bert\"", path, type);
  const std::string positions = text_or(json, "position_embedding_type", "absolute", path);
  check(positions == "absolute", "{}: \"position_embedding_type\" is \"{}\"; triax computes \"absolute\"", path, positions);
  check(!json.contains("is_decoder") || json["is_decoder"] == false, "{}: \"is_decoder\" is true; BERT here is an encoder", path);
  const std::string activation = text_or(json, "hidden_act", "gelu", path);
  const bool tanh = activation == "gelu_new" || activation == "gelu_pytorch_tanh" || activation == "gelu_fast";
  check(tanh || activation == "gelu", "{}: \"hidden_act\" is \"{}\"; triax computes \"gelu\" and \"gelu_new\"", path, activation);

  HfBertConfig config;
  BertConfig& m = config.model;
  m.vocab_size = size_or(json, "vocab_size", 30522, path);
  m.hidden_size = size_or(json, "hidden_size", 768, path);
  m.num_layers = size_or(json, "num_hidden_layers", 12, path);
  m.num_heads = size_or(json, "num_attention_heads", 12, path);
  m.ffn_hidden_size = size_or(json, "intermediate_size", 3072, path);
  m.max_positions = size_or(json, "max_position_embeddings", 512, path);
  m.num_types = size_or(json, "type_vocab_size", 2, path);
  m.activation = tanh ? Activation::gelu_tanh : Activation::gelu_erf;
  m.layernorm_epsilon = number_or(json, "layer_norm_eps", 1e-12, 1, path);
  m.hidden_dropout = number_or(json, "hidden_dropout_prob", 0.1, 0.99, path);
  m.attention_dropout = number_or(json, "attention_probs_dropout_prob", 0.1, 0.99, path);
  m.init_std = number_or(json, "initializer_range", 0.02, 1, path);
  m.post_norm = type == "bert";
  check(m.hidden_size % m.num_heads == 0, "{}: \"hidden_size\" {} is not a multiple of \"num_attention_heads\" {}", path, m.hidden_size,
        m.num_heads);
  config.labels = labels_of(json, path);
  config.head = head_of(json, config.labels, path);
  return config;
}

std::string hf_bert_config_json(const HfBertConfig& config) {
  const BertConfig& m = config.model;
  const auto architecture = std::find_if(kArchitectures.begin(), kArchitectures.end(), [&](const Architecture& a) { return a.head == config.head.head; });
  Json json = {{"architectures", Json::array({(m.post_norm ? "" : "Megatron") + std::string(architecture->name)})},
               {"model_type", m.post_norm ? "bert" : "megatron-bert"},
               {"vocab_size", m.vocab_size},
               {"hidden_size", m.hidden_size},
               {"num_hidden_layers", m.num_layers},
               {"num_attention_heads", m.num_heads},
               {"intermediate_size", m.ffn_size()},
               {"hidden_act", m.activation == Activation::gelu_erf ? "gelu" : "gelu_new"},
               {"hidden_dropout_prob", m.hidden_dropout},
               {"attention_probs_dropout_prob", m.attention_dropout},
               {"max_position_embeddings", m.max_positions},
               {"type_vocab_size", m.num_types},
               {"initializer_range", m.init_std},
               {"layer_norm_eps", m.layernorm_epsilon},
               {"pad_token_id", 0},
               {"position_embedding_type", "absolute"},
               {"torch_dtype", "float32"}};
  if (config.head.head != BertHead::none && config.head.head != BertHead::pretraining) json["classifier_dropout"] = config.head.dropout;
  if (config.head.hidden_size > 0) json["triax_classifier_hidden_size"] = config.head.hidden_size;
  if (!config.labels.empty()) {
    Json names = Json::object(), numbers = Json::object();
    for (size_t i = 0; i < config.labels.size(); ++i) names[std::to_string(i)] = config.labels[i], numbers[config.labels[i]] = i;
    json["id2label"] = names;
    json["label2id"] = numbers;
  } else if (config.head.head == BertHead::sequence && config.head.num_labels == 1) {
    json["id2label"] = {{"0", "LABEL_0"}};
    json["label2id"] = {{"LABEL_0", 0}};
    json["problem_type"] = "regression";
  }
  return json.dump(2) + "\n";
}

}  // namespace triax
