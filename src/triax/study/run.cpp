#include "triax/study/run.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <thread>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/hash.h"
#include "triax/base/json.h"
#include "triax/base/progress.h"
#include "triax/base/text.h"

extern char** environ;

namespace triax::study {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

std::string file_name(const Stage& stage) {
  std::string name = stage.name;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

// What the user's file is: its size, and of a small one (a configuration) the content.
std::string file_identity(const fs::path& path) {
  std::error_code none;
  if (fs::is_directory(path, none)) return path.string();
  const auto size = fs::file_size(path, none);
  constexpr uintmax_t kSmall = uintmax_t{1} << 20;
  return fmt::format("{} {} {}", path.string(), none ? 0 : size, !none && size < kSmall ? hex64(hash64(read_file(path))) : "");
}

// Everything the results of each stage hang on, as a hash.
std::vector<std::string> identities(const StudyPlan& plan) {
  std::map<std::string, std::string> of;
  std::vector<std::string> all;
  for (const Stage& stage : plan.stages) {
    std::string text;
    for (const std::string& argument : stage.arguments) text += argument + '\n';
    for (const fs::path& file : stage.reads) text += file_identity(file) + '\n';
    for (const std::string& need : stage.needs) text += of.at(need) + '\n';
    all.push_back(of[stage.name] = hex64(hash64(text)));
  }
  return all;
}

struct Note {
  std::string identity;
  bool done = false;
  double seconds = 0;
};

fs::path note_file(const Stage& stage, const fs::path& dir) { return dir / "stages" / (file_name(stage) + ".json"); }

Note read_note(const Stage& stage, const fs::path& dir) {
  const fs::path file = note_file(stage, dir);
  if (!fs::exists(file)) return {};
  const Json json = Json::parse(read_file(file), file.string());
  return {json.at("identity").text(), json.at("done").boolean(), json.at("seconds").number()};
}

void write_note(const Stage& stage, const fs::path& dir, const Note& note) {
  write_file_atomic(note_file(stage, dir), Json{{"stage", stage.name}, {"identity", note.identity}, {"done", note.done}, {"seconds", note.seconds}}.dump(1) + "\n");
}

StageState state_of(const Note& note, const std::string& identity) {
  if (note.identity.empty()) return StageState::to_do;
  if (note.identity != identity) return StageState::changed;
  return note.done ? StageState::done : StageState::to_do;
}

std::string last_lines(const fs::path& log, size_t count) {
  std::string text = read_file(log);
  std::replace(text.begin(), text.end(), '\r', '\n');
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  size_t begin = text.size();
  for (size_t i = 0; i < count && begin != std::string::npos && begin > 0; ++i) begin = text.rfind('\n', begin - 1);
  return begin == std::string::npos ? text : text.substr(begin + (begin < text.size() && text[begin] == '\n'));
}

pid_t start(const std::string& program, const Stage& stage, const fs::path& log) {
  std::vector<std::string> words = {program};
  words.insert(words.end(), stage.arguments.begin(), stage.arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  check(error == 0, "cannot start {}: {}", program, std::strerror(error));
  return pid;
}

// Waits for the child while showing the last line it wrote.
void run_stage(const std::string& program, const Stage& stage, const fs::path& log, Progress& progress, const std::string& left) {
  const pid_t pid = start(program, stage, log);
  int status = 0;
  for (int64_t tick = 0; ::waitpid(pid, &status, WNOHANG) == 0; ++tick) {
    std::this_thread::sleep_for(std::chrono::milliseconds(tick < 20 ? 10 : 250));
    if (tick % 4 == 0) progress.note(fmt::format("{}{}: {}", left, stage.name, last_lines(log, 1).substr(0, 100)));
    progress.add(0);
  }
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "{} failed; the end of {}:\n{}", stage.name, log.string(), last_lines(log, 8));
}

// How long stages take, by their kind; what is left is reckoned with the mean.
class Times {
 public:
  void add(const std::string& kind, double seconds) { sums_[kind].first += seconds, ++sums_[kind].second; }
  std::string left(const std::vector<const Stage*>& stages) const {
    double all = 0, sum = 0;
    int64_t count = 0;
    bool guessed = false;  // of a kind that has not been seen yet
    for (const auto& [kind, entry] : sums_) sum += entry.first, count += entry.second;
    if (count == 0) return "";
    for (const Stage* stage : stages) {
      const auto found = sums_.find(stage->kind);
      guessed |= found == sums_.end();
      all += found == sums_.end() ? sum / static_cast<double>(count) : found->second.first / static_cast<double>(found->second.second);
    }
    return fmt::format("{} {} left in all; ", guessed ? "perhaps" : "about", format_duration(all));
  }

 private:
  std::map<std::string, std::pair<double, int64_t>> sums_;
};

}  // namespace

std::vector<StageState> states_of(const StudyPlan& plan, const fs::path& dir) {
  const auto identity = identities(plan);
  std::vector<StageState> states;
  for (size_t i = 0; i < plan.stages.size(); ++i) states.push_back(state_of(read_note(plan.stages[i], dir), identity[i]));
  return states;
}

void run_study(const StudyPlan& plan, const fs::path& dir, const std::string& program) {
  for (const char* folder : {"stages", "logs"}) fs::create_directories(dir / folder);
  const auto identity = identities(plan);
  std::vector<const Stage*> left;
  Times times;
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const Note note = read_note(plan.stages[i], dir);
    if (state_of(note, identity[i]) == StageState::done) times.add(plan.stages[i].kind, note.seconds);
    else left.push_back(&plan.stages[i]);
  }
  const uint64_t done_before = plan.stages.size() - left.size();
  Progress progress("study", plan.stages.size(), {.unit = "stages", .start = done_before});
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const Stage& stage = plan.stages[i];
    const StageState state = state_of(read_note(stage, dir), identity[i]);
    if (state == StageState::done) continue;
    if (state == StageState::changed || !stage.goes_on) fs::remove_all(stage.output);
    fs::create_directories(stage.kind == "pack" ? stage.output : stage.output.parent_path());
    write_note(stage, dir, {identity[i], false, 0});
    const auto begin = Clock::now();
    run_stage(program, stage, dir / "logs" / (file_name(stage) + ".log"), progress, times.left(left));
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    write_note(stage, dir, {identity[i], true, seconds});
    times.add(stage.kind, seconds);
    std::erase(left, &stage);
    fmt::print("[{}/{}] {}  {}\n", plan.stages.size() - left.size(), plan.stages.size(), stage.name, format_duration(seconds));
    std::fflush(stdout);
    progress.add(1);
  }
}

}  // namespace triax::study
