// What `triax finetune` is told, as TOML.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "triax/optim/lr_schedule.h"
#include "triax/tasks/token_labels.h"
#include "triax/train/run_config.h"

namespace triax::finetune {

enum class TaskKind { ner, relation, qa, classify, stance, regress, choice };
TaskKind task_kind_from(std::string_view name);
std::string_view task_name(TaskKind kind);

enum class ClassWeights { none, balanced };

struct ModelSection {
  std::string path;
  int64_t head_hidden_size = 0;
  double head_dropout = 0.1;

  template <class V>
  void visit(V& v) {
    v("path", path, "folder of a BERT: of Hugging Face (config.json, model.safetensors, vocabulary), or a run of `triax train`");
    v("head_hidden_size", head_hidden_size, "width of a layer before the last one of the head; 0: none").at_least(0);
    v("head_dropout", head_dropout, "dropout before each layer of the head").between(0, 0.99);
  }
};

struct DataSection {
  std::string train, dev, test;
  std::string text = "text", pair, label = "label", id, choices;
  int64_t max_length = 128, stride = 32;
  int64_t train_limit = 0;
  bool skip_bad = false;

  template <class V>
  void visit(V& v) {
    v("train", train, "file to train on");
    v("dev", dev, "file that chooses the best checkpoint and ends training early");
    v("test", test, "file that the best checkpoint is scored on; empty: none");
    v("text", text, "field, or column, of the text (not of ner and qa)");
    v("pair", pair, "of the second text; empty: none");
    v("label", label, "of the class or number");
    v("id", id, "of what names the record; empty: the line does");
    v("choices", choices, "of the list of endings (choice); empty: files in RACE's form");
    v("max_length", max_length, "tokens of a window, [CLS] and [SEP] included").at_least(8);
    v("stride", stride, "tokens that neighbouring windows of a longer text share (ner and qa)").at_least(0);
    v("train_limit", train_limit, "use only that many records of the training file, drawn at random; 0: all").at_least(0);
    v("skip_bad", skip_bad, "leave out bad records, and count them");
  }
};

struct TaskSection {
  tasks::SubtokenLabels subtokens = tasks::SubtokenLabels::first;
  std::vector<std::string> negative;
  bool chemprot_groups = false;
  bool no_answer = false;
  int64_t n_best = 20, max_answer_tokens = 30;

  template <class V>
  void visit(V& v) {
    v("subtokens", subtokens, "ner: label the first sub-token of a word, or all", {"first", "all"});
    v("negative", negative, "relation: classes that the micro F1 leaves out; empty: \"false\", if there is one");
    v("chemprot_groups", chemprot_groups, "relation: ChemProt's types as its groups CPR:3 to CPR:9; all others are \"false\"");
    v("no_answer", no_answer, "qa: questions may have no answer (SQuAD 2.0)");
    v("n_best", n_best, "qa: starts and ends looked at, and answers kept").at_least(1);
    v("max_answer_tokens", max_answer_tokens, "qa: longest answer").at_least(1);
  }
};

struct TrainSection {
  int64_t epochs = 3, batch_size = 32, micro_batch_tokens = 4096, patience = 0;
  double learning_rate = 5e-5, head_learning_rate = 0, warmup = 0.1, weight_decay = 0.01, clip_gradient = 1.0, beta2 = 0.999;
  Decay decay = Decay::linear;
  ClassWeights class_weights = ClassWeights::none;
  Device::Kind device = Device::Kind::cpu;
  Precision precision = Precision::fp32;
  double loss_scale = 0, initial_loss_scale = 65536;
  Recompute recompute = Recompute::none;
  std::vector<int64_t> seeds = {1};

  template <class V>
  void visit(V& v) {
    v("epochs", epochs, "passes over the training file").at_least(1);
    v("batch_size", batch_size, "sequences of an optimizer step").at_least(1);
    v("micro_batch_tokens", micro_batch_tokens, "tokens computed at a time, about: bounds memory, changes no result; a pipeline "
      "cuts a step into two parts a rank at least").at_least(16);
    v("patience", patience, "stop after that many epochs without a better dev score; 0: never").at_least(0);
    v("learning_rate", learning_rate, "peak learning rate").at_least(0);
    v("head_learning_rate", head_learning_rate, "peak of the head's layers, which begin without knowing anything; 0: as the others").at_least(0);
    v("warmup", warmup, "share of the steps in which the rate rises").between(0, 1);
    v("decay", decay, "of the learning rate after it, to 0", {"cosine", "linear", "constant", "inverse_sqrt", "wsd"});
    v("weight_decay", weight_decay, "of matrices").at_least(0);
    v("clip_gradient", clip_gradient, "largest gradient norm; 0: any").at_least(0);
    v("beta2", beta2, "of AdamW").between(0, 1);
    v("class_weights", class_weights, "balanced: classes count by the inverse of how frequent they are", {"none", "balanced"});
    v("device", device, "what a rank computes on; cuda: an NVIDIA GPU", {"cpu", "cuda"});
    v("precision", precision, "of matrix products and activations; weights, sums and losses are fp32 in all; tf32: all in fp32, and "
      "products on a GPU round their operands to 10 bits; fp8: bf16, and the linear layers on a GPU (Ada, Hopper) multiply in 8 bits",
      {"fp32", "bf16", "fp16", "tf32", "fp8"});
    v("loss_scale", loss_scale, "fp16: the loss is multiplied by this before backward; 0: by a scale that adapts").at_least(0);
    v("initial_loss_scale", initial_loss_scale, "fp16: the scale of the first step").at_least(1);
    v("recompute", recompute, "what backward computes again instead of keeping: nothing, norms and activations, or whole layers",
      {"none", "selective", "full"});
    v("seeds", seeds, "one run each; results are their mean and deviation").at_least(0);
  }
};

struct OutputSection {
  std::string dir;
  template <class V>
  void visit(V& v) {
    v("dir", dir, "folder of the runs, the best models, predictions and the report");
  }
};

struct FinetuneConfig {
  ModelSection model;
  DataSection data;
  TaskSection task;
  TrainSection train;
  GridConfig parallel;
  OutputSection output;

  template <class V>
  void visit(V& v) {
    v.section("model", model, "what is tuned");
    v.section("data", data, "files and how they are read");
    v.section("task", task, "what is peculiar to one task");
    v.section("train", train, "how it is tuned");
    v.section("parallel", parallel, "the grid of ranks: tensor x pipeline x data; changes no result");
    v.section("output", output, "where results go");
  }
};

}  // namespace triax::finetune
