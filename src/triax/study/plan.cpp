#include "triax/study/plan.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/finetune/config.h"

namespace triax::study {
namespace {

namespace fs = std::filesystem;

struct Level {
  std::string name, value;  // of "name=value"; without "=" both are all of it
};

struct Shape {
  int64_t layers = 0, hidden = 0, heads = 0;
  bool operator==(const Shape&) const = default;
};

std::vector<Level> levels_of(const char* key, const std::vector<std::string>& texts) {
  check(!texts.empty(), "{} is empty: name at least one level", key);
  std::vector<Level> levels;
  std::set<std::string> names;
  for (const std::string& text : texts) {
    const size_t at = text.find('=');
    const Level level = at == std::string::npos ? Level{text, text} : Level{text.substr(0, at), text.substr(at + 1)};
    const bool plain = std::all_of(level.name.begin(), level.name.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.'; });
    check(!level.name.empty() && plain && level.name[0] != '.', "{}: \"{}\" does not begin with a name of letters, digits, -, _ or . before \"=\"", key, text);
    check(!level.value.empty(), "{}: \"{}\" says nothing behind \"=\"", key, text);
    check(names.insert(level.name).second, "{}: there are two levels \"{}\"", key, level.name);
    levels.push_back(level);
  }
  return levels;
}

const Level& find(const char* key, const std::vector<Level>& levels, const std::string& name) {
  for (const Level& level : levels)
    if (level.name == name) return level;
  std::vector<std::string> names;
  for (const Level& level : levels) names.push_back(level.name);
  fail("{}: \"{}\" is none of {}", key, name, fmt::join(names, ", "));
}

bool has(const std::vector<Level>& levels, const std::string& name) {
  return std::any_of(levels.begin(), levels.end(), [&](const Level& level) { return level.name == name; });
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value > 0 ? std::optional(value) : std::nullopt;
}

Shape shape_of(const Level& size) {
  std::vector<int64_t> numbers;
  for (size_t begin = 0; begin <= size.value.size();) {
    const size_t end = std::min(size.value.find('x', begin), size.value.size());
    const auto number = whole_number(std::string_view(size.value).substr(begin, end - begin));
    if (!number) break;
    numbers.push_back(*number);
    begin = end + 1;
  }
  check(numbers.size() == 3, "factors.sizes: \"{}\" is not layers x hidden x heads, such as 4x256x4", size.value);
  return {numbers[0], numbers[1], numbers[2]};
}

Shape shape_of_folder(const fs::path& folder) {
  const fs::path file = folder / "config.json";
  const Json json = Json::parse(read_file(file), file.string());
  return {json.at("num_hidden_layers").integer(), json.at("hidden_size").integer(), json.at("num_attention_heads").integer()};
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  for (size_t begin = text.find_first_not_of(' '); begin != std::string::npos;) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(' ', end);
  }
  return words;
}

class Planner {
 public:
  explicit Planner(const StudyConfig& config)
      : config_(config), dir_(config.output.dir), corpora_(levels_of("factors.corpora", config.factors.corpora)),
        vocabularies_(levels_of("factors.vocabularies", config.factors.vocabularies)), sizes_(levels_of("factors.sizes", config.factors.sizes)),
        starts_(levels_of("factors.starts", config.factors.starts)), tasks_(levels_of("factors.tasks", config.factors.tasks)) {
    check(!config.output.dir.empty(), "output.dir is empty: name a folder for the study");
    check(!config.factors.seeds.empty(), "factors.seeds is empty: at least one run is needed");
    for (const Level& corpus : corpora_)
      if (corpus.name != "none")
        for (const std::string& file : words_of(corpus.value)) check(fs::exists(file), "factors.corpora: {}: there is no {}", corpus.name, file);
    for (const Level& task : tasks_) check_task(task);
  }

  StudyPlan plan() {
    for (const Level& vocabulary : vocabularies_)
      for (const Level& corpus : corpora_)
        for (const Level& size : sizes_)
          for (const Level& start : starts_) {
            const std::string why = left_out(corpus, size, start);
            if (why.empty()) add_cell(vocabulary, corpus, size, start);
            else plan_.notes.push_back(fmt::format("{} {} {} {} is left out: {}", vocabulary.name, corpus.name, size.name, start.name, why));
          }
    check(!plan_.cells.empty(), "no combination of the factors can be run: {}", plan_.notes.empty() ? "" : plan_.notes.front());
    return std::move(plan_);
  }

 private:
  static bool is_scratch(const Level& start) { return start.value == "scratch"; }
  bool is_corpus(const Level& start) const { return !is_scratch(start) && has(corpora_, start.value); }

  static std::pair<std::string, std::string> kind_and_file(const Level& task) {
    const size_t at = task.value.find(':');
    check(at != std::string::npos, "factors.tasks: \"{}={}\" is not name=kind:file", task.name, task.value);
    return {task.value.substr(0, at), task.value.substr(at + 1)};
  }
  static void check_task(const Level& task) {
    const auto [kind, file] = kind_and_file(task);
    finetune::task_kind_from(kind);
    check(fs::exists(file), "factors.tasks: {}: there is no {}", task.name, file);
  }

  std::string left_out(const Level& corpus, const Level& size, const Level& start) const {
    if (corpus.name == "none" && is_scratch(start)) return "nothing would be learned";
    if (is_corpus(start) && start.value == corpus.name) return "it would be pretrained on one corpus twice";
    if (is_scratch(start) || is_corpus(start)) return "";
    check(fs::exists(fs::path(start.value) / "config.json"), "factors.starts: {}: \"{}\" is neither \"scratch\", nor a corpus, nor a folder with config.json",
          start.name, start.value);
    return shape_of_folder(start.value) == shape_of(size) ? "" : "the start has another size";
  }

  // Stages are made once; returns the name.
  std::string add(Stage stage) {
    std::string name = stage.name;
    if (made_.insert(name).second) plan_.stages.push_back(std::move(stage));
    return name;
  }
  fs::path place(const char* kind, const std::vector<std::string>& parts) const { return dir_ / kind / fmt::format("{}", fmt::join(parts, "-")); }
  static std::string name_of(const char* kind, const std::vector<std::string>& parts) { return fmt::format("{} {}", kind, fmt::join(parts, " ")); }

  struct Made {
    fs::path path;
    std::vector<std::string> needs;  // the stage that makes it; none: it is there
  };

  Made vocabulary(const Level& level) {
    const size_t at = level.value.rfind(':');
    const auto tokens = at == std::string::npos ? std::nullopt : whole_number(std::string_view(level.value).substr(at + 1));
    if (!tokens) {
      check(fs::exists(level.value), "factors.vocabularies: {}: \"{}\" is neither corpus:tokens nor a folder", level.name, level.value);
      return {level.value, {}};
    }
    const Level& corpus = find("factors.vocabularies", corpora_, level.value.substr(0, at));
    check(corpus.name != "none", "factors.vocabularies: {}: nothing is learned from \"none\"", level.name);
    const fs::path folder = place("vocabulary", {level.name});
    Stage stage{"vocabulary", name_of("vocabulary", {level.name}), {"tokenizer", "train", "--kind", "wordpiece", "--vocab-size", std::to_string(*tokens)}, {}, {}, folder, false};
    if (config_.factors.cased) stage.arguments.emplace_back("--cased");
    stage.arguments.insert(stage.arguments.end(), {"--output", folder.string()});
    add_files(corpus, stage);
    return {folder, {add(std::move(stage))}};
  }

  static void add_files(const Level& corpus, Stage& stage) {
    for (const std::string& file : words_of(corpus.value)) stage.arguments.push_back(file), stage.reads.emplace_back(file);
  }

  Made packed(const Level& vocabulary_level, const Level& corpus) {
    const Made words = vocabulary(vocabulary_level);
    const fs::path prefix = place("data", {vocabulary_level.name, corpus.name}) / "text";
    Stage stage{"pack", name_of("pack", {vocabulary_level.name, corpus.name}),
                {"pack", "--sentences", "--tokenizer", words.path.string(), "--output", prefix.string()}, words.needs, {}, prefix.parent_path(), true};
    add_files(corpus, stage);
    return {prefix.string() + "_text_sentence", {add(std::move(stage))}};
  }

  Made pretrained(const Level& vocabulary_level, const Level& corpus, const Level& size, const Level& start) {
    const std::vector<std::string> parts = {vocabulary_level.name, corpus.name, size.name, start.name};
    check(!config_.pretrain.config.empty(), "pretrain.config is empty: name a configuration of triax train");
    const Made data = packed(vocabulary_level, corpus), words = vocabulary(vocabulary_level);
    const Shape shape = shape_of(size);
    const fs::path run = place("pretrain", parts);
    Stage stage{"pretrain", name_of("pretrain", parts), {"train", config_.pretrain.config}, data.needs, {config_.pretrain.config}, run, true};
    const auto set = [&](const std::string& assignment) { stage.arguments.insert(stage.arguments.end(), {"--set", assignment}); };
    set("model.kind=bert");
    set(fmt::format("model.num_layers={}", shape.layers));
    set(fmt::format("model.hidden_size={}", shape.hidden));
    set(fmt::format("model.num_heads={}", shape.heads));
    set("model.vocab_size=0");
    set("data.tokenizer=" + words.path.string());
    set("data.train=" + data.path.string());
    set("output.dir=" + run.string());
    if (!is_scratch(start)) {
      const Made from = checkpoint_of_start(vocabulary_level, size, start);
      set("checkpoint.load=" + from.path.string());
      stage.needs.insert(stage.needs.end(), from.needs.begin(), from.needs.end());
    }
    if (config_.pretrain.nproc > 0) stage.arguments.insert(stage.arguments.end(), {"--nproc", std::to_string(config_.pretrain.nproc)});
    return {run, {add(std::move(stage))}};
  }

  Made converted(const Made& from, const char* to, const std::vector<std::string>& parts) {
    const fs::path folder = place(to, parts);
    return {folder, {add({"convert", name_of("convert", parts) + " to " + to, {"convert", from.path.string(), folder.string(), "--to", to}, from.needs, {}, folder, false})}};
  }

  Made base(const Level& size, const Level& start) {
    return pretrained(vocabularies_.front(), find("factors.starts", corpora_, start.value), size, {"scratch", "scratch"});
  }

  // The start with the vocabulary, in the files of Hugging Face.
  Made folder_of_start(const Level& vocabulary_level, const Level& size, const Level& start) {
    Made model{start.value, {}};
    bool same = false;
    if (is_corpus(start)) {
      model = converted(base(size, start), "hf", {vocabularies_.front().name, start.value, size.name, "scratch"});
      same = vocabulary_level.name == vocabularies_.front().name;
    } else {
      same = fs::path(vocabulary_level.value) == fs::path(start.value);
    }
    if (same) return model;
    const Made words = vocabulary(vocabulary_level);
    const std::vector<std::string> parts = {start.name, size.name, vocabulary_level.name};
    const fs::path folder = place("transferred", parts);
    Stage stage{"transfer", name_of("transfer", parts), {"transfer-vocabulary", model.path.string(), words.path.string(), folder.string()}, model.needs, {}, folder, false};
    stage.needs.insert(stage.needs.end(), words.needs.begin(), words.needs.end());
    return {folder, {add(std::move(stage))}};
  }

  Made checkpoint_of_start(const Level& vocabulary_level, const Level& size, const Level& start) {
    if (is_corpus(start) && vocabulary_level.name == vocabularies_.front().name) return base(size, start);
    return converted(folder_of_start(vocabulary_level, size, start), "triax", {start.name, size.name, vocabulary_level.name});
  }

  void add_cell(const Level& vocabulary_level, const Level& corpus, const Level& size, const Level& start) {
    const std::vector<std::string> parts = {vocabulary_level.name, corpus.name, size.name, start.name};
    const Made model = corpus.name == "none" ? folder_of_start(vocabulary_level, size, start)
                                             : converted(pretrained(vocabulary_level, corpus, size, start), "hf", parts);
    Cell cell{vocabulary_level.name, corpus.name, size.name, start.name, {}};
    for (const Level& task : tasks_) {
      const auto [kind, file] = kind_and_file(task);
      const fs::path folder = place("finetune", parts) / task.name;
      std::vector<std::string> names = parts;
      names.insert(names.begin(), task.name);
      add({"finetune", name_of("finetune", names),
           {"finetune", kind, file, "--set", "model.path=" + model.path.string(), "--set", "output.dir=" + folder.string(), "--set",
            fmt::format("train.seeds=[{}]", fmt::join(config_.factors.seeds, ", "))},
           model.needs, {file}, folder, true});
      cell.tasks.push_back({task.name, folder});
    }
    plan_.cells.push_back(std::move(cell));
  }

  const StudyConfig& config_;
  fs::path dir_;
  std::vector<Level> corpora_, vocabularies_, sizes_, starts_, tasks_;
  std::set<std::string> made_;
  StudyPlan plan_;
};

}  // namespace

StudyPlan plan_study(const StudyConfig& config) { return Planner(config).plan(); }

}  // namespace triax::study
