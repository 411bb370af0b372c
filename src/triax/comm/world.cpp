#include "triax/comm/world.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>
#include <thread>
#include <vector>

#include "triax/base/error.h"
#include "triax/comm/mpi.h"
#include "triax/comm/mpi_communicator.h"

namespace triax {
namespace {

std::string host_name() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return name;
}

int number(const char* text) { return text ? std::atoi(text) : 0; }

}  // namespace

bool started_by_launcher(const std::function<const char*(const char*)>& variable) {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE", "PMI_FD"})
    if (variable(name)) return true;
  const int tasks = number(variable("SLURM_STEP_NUM_TASKS"));
  check(tasks <= 1, "srun started {} tasks that cannot find each other; start them with srun --mpi=pmix", tasks);
  return false;
}

bool started_by_launcher() {
  return started_by_launcher([](const char* name) { return std::getenv(name); });
}

// Members are destroyed from the last to the first: MPI ends after everything that uses it.
struct World::State {
  std::string host = host_name();
  WorldOptions options;
  std::unique_ptr<mpi::Session> session;
  mpi::SharedMemory board;
  std::shared_ptr<OperationEngine> progress;
  std::unique_ptr<Communicator> communicator = make_self_communicator();
  int local_rank = 0, local_size = 1;
  bool with_first_rank = true;  // on the host of rank 0

  const mpi::Group& group() const { return static_cast<MpiCommunicator&>(*communicator).group(); }
  void start_mpi();
  void set_up_board();
};

void World::State::start_mpi() {
  session = std::make_unique<mpi::Session>();
  progress = std::make_shared<OperationEngine>(options.progress);
  communicator = std::make_unique<MpiCommunicator>(progress, mpi::Group::world(), "world", options.same_host);
  const int launched = std::max(number(std::getenv("OMPI_COMM_WORLD_SIZE")), number(std::getenv("PMI_SIZE")));
  check(launched <= communicator->size(),
        "the launcher started {} processes, but the MPI library of triax finds {}: use the mpirun of the MPI that "
        "triax was built with, or srun --mpi=pmix",
        launched, communicator->size());
  set_up_board();
}

void World::State::set_up_board() {
  const std::lock_guard lock(progress->mutex());
  const mpi::Group local = group().split_by_host();
  local_rank = local.rank();
  local_size = local.size();
  with_first_rank = local.world_ranks()[0] == 0;
  board = local.share(sizeof(StatusBoard::Entry) + 64);
  StatusBoard view;
  if (board) {
    view.of_world_rank.resize(static_cast<size_t>(communicator->size()), nullptr);
    for (int r = 0; r < local_size; ++r)
      view.of_world_rank[static_cast<size_t>(local.world_ranks()[static_cast<size_t>(r)])] =
          std::launder(reinterpret_cast<StatusBoard::Entry*>(board.of_rank(r)));
    view.failed = std::launder(reinterpret_cast<std::atomic<int>*>(board.of_rank(0) + sizeof(StatusBoard::Entry)));
  }
  const bool crowded = local_size > static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  progress->set_place(std::move(view), communicator->rank(), host, crowded);
}

World::World(WorldOptions options) : state_(std::make_unique<State>()) {
  state_->options = options;
  if (started_by_launcher()) state_->start_mpi();
}

World::~World() = default;

int World::rank() const { return state_->communicator->rank(); }
int World::size() const { return state_->communicator->size(); }
int World::local_rank() const { return state_->local_rank; }
int World::local_size() const { return state_->local_size; }
const std::string& World::host() const { return state_->host; }
Communicator& World::communicator() { return *state_->communicator; }

std::unique_ptr<Communicator> World::split(const std::string& name, int color, int key) {
  if (size() == 1) return color < 0 ? nullptr : make_self_communicator();
  std::optional<mpi::Group> part;
  {
    const std::lock_guard lock(state_->progress->mutex());
    part = state_->group().split(color, key);
  }
  if (!part) return nullptr;
  if (part->size() == 1) return make_self_communicator();
  return std::make_unique<MpiCommunicator>(state_->progress, std::move(*part), name, state_->options.same_host);
}

namespace {

// The text of every rank, on every rank.
std::vector<std::string> gather_texts(Communicator& communicator, const std::string& text) {
  const auto ranks = static_cast<size_t>(communicator.size());
  std::vector<int64_t> lengths(ranks);
  auto length = static_cast<int64_t>(text.size());
  communicator.all_gather({&length, {1}, DType::i64}, {lengths.data(), {communicator.size()}, DType::i64});
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  std::string mine = text;
  mine.resize(static_cast<size_t>(longest));
  std::string all(ranks * mine.size(), '\0');
  communicator.all_gather({mine.data(), {longest}, DType::u8},
                          {all.data(), {longest * communicator.size()}, DType::u8});
  std::vector<std::string> texts;
  for (size_t r = 0; r < ranks; ++r) texts.push_back(all.substr(r * mine.size(), static_cast<size_t>(lengths[r])));
  return texts;
}

// "rank 3 (node7) has seed = 1, 7 other ranks have 2", or empty if all have the same.
std::string difference(std::string_view name, const std::vector<std::string>& values,
                       const std::vector<std::string>& hosts) {
  std::map<std::string, std::vector<size_t>> holders;
  for (size_t r = 0; r < values.size(); ++r) holders[values[r]].push_back(r);
  if (holders.size() == 1) return {};
  const auto most = std::max_element(holders.begin(), holders.end(), [](const auto& a, const auto& b) {
    // Among equally many, the one of the lowest rank counts as what most have.
    return a.second.size() != b.second.size() ? a.second.size() < b.second.size() : a.second[0] > b.second[0];
  });
  std::string text;
  for (const auto& [value, ranks] : holders) {
    if (value == most->first) continue;
    text += fmt::format("{}rank {} on {}{} has {} = {}", text.empty() ? "" : ", ", ranks[0], hosts[ranks[0]],
                        ranks.size() > 1 ? fmt::format(" (and {} more)", ranks.size() - 1) : "", name, value);
  }
  return text + fmt::format(", the other {} have {}", most->second.size(), most->first);
}

}  // namespace

void World::require_same(std::span<const Fingerprint> fingerprints) {
  if (size() == 1) return;
  const std::vector<std::string> hosts = gather_texts(communicator(), host());
  std::string faults;
  for (const Fingerprint& fingerprint : fingerprints) {
    const std::string fault = difference(fingerprint.name, gather_texts(communicator(), fingerprint.value), hosts);
    if (!fault.empty()) faults += (faults.empty() ? "" : "; ") + fault;
  }
  check(faults.empty(), "the ranks were not started alike: {}; start all of them with the same program and settings",
        faults);
}

void World::abort(std::string_view message) {
  using namespace std::chrono_literals;
  if (size() == 1) {
    std::fprintf(stderr, "triax: error: %s\n", std::string(message).c_str());
    mpi::abort_job(1);
  }
  // What is wrong on all ranks is said by one: the first of a host, and rank 0's host before others.
  std::atomic<int>* failed = state_->progress->board().failed;
  const bool first = !failed || failed->exchange(1) == 0;
  if (!first) std::this_thread::sleep_for(10s);  // until the one that speaks has ended the job
  if (first && !state_->with_first_rank) std::this_thread::sleep_for(300ms);
  if (first) {
    std::fprintf(stderr, "triax: error: rank %d on %s: %s\n", rank(), host().c_str(), std::string(message).c_str());
    std::fflush(stderr);
  }
  mpi::abort_job(1);
}

int run_ranks(const WorldOptions& options, const std::function<int(World&)>& body) {
  World world(options);
  try {
    return body(world);
  } catch (const std::exception& error) {
    if (world.size() == 1) throw;
    world.abort(error.what());
  }
}

}  // namespace triax
