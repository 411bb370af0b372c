#include "triax/comm/mpi.h"

#define OMPI_SKIP_MPICXX 1   // the C interface only; the C++ one is gone since MPI 3
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>

#include "triax/base/error.h"
#include "triax/comm/peer_memory.h"

namespace triax::mpi {
namespace {

void require(int status, const char* what) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(status, text, &length);
  fail("{} failed: {}", what, std::string_view(text, static_cast<size_t>(length)));
}

bool running() {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  return initialized && !finalized;
}

// Freeing may wait for the other ranks, which a rank that is failing must not do.
bool may_free() { return running() && std::uncaught_exceptions() == 0; }

MPI_Comm duplicate(MPI_Comm from) {
  MPI_Comm copy = MPI_COMM_NULL;
  require(MPI_Comm_dup(from, &copy), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(copy, MPI_ERRORS_RETURN);
  return copy;
}

// MPI counts in int; pieces of 1 GiB keep far from its end.
constexpr size_t kLargestMessage = size_t{1} << 30;

}  // namespace

Session::Session() {
  check(!running(), "MPI is running already");
  // Open MPI reads other processes' memory without asking whether it may, and prints an error for
  // every message where a container forbids it. What this process may not do with itself, it may not.
  const int here = 1;
  int copy = 0;
  if (!read_peer_memory(::getpid(), reinterpret_cast<const std::byte*>(&here), reinterpret_cast<std::byte*>(&copy), sizeof here))
    ::setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
  int provided = 0;
  require(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
  check(provided >= MPI_THREAD_SERIALIZED, "this MPI library cannot be used from several threads in turn "
        "(it provides thread level {}); use one built with thread support", provided);
}

Session::~Session() {
  if (!running()) return;
  if (std::uncaught_exceptions() > 0) abort_job(1);  // finalising would wait for ranks that wait for this one
  MPI_Finalize();
}

std::string library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  require(MPI_Get_library_version(text, &length), "MPI_Get_library_version");
  const std::string_view line(text, static_cast<size_t>(length));
  return std::string(line.substr(0, line.find_first_of(",\n")));
}

void abort_job(int status) {
  if (running()) MPI_Abort(MPI_COMM_WORLD, status);
  std::_Exit(status);
}

struct Requests::State {
  std::vector<MPI_Request> requests;
  std::vector<int> peers;         // -1: the whole group
  std::vector<int> bytes_wanted;  // of receives; -1 for the rest
  std::vector<MPI_Status> statuses;

  MPI_Request& add(int peer, int wanted) {
    peers.push_back(peer);
    bytes_wanted.push_back(wanted);
    return requests.emplace_back(MPI_REQUEST_NULL);
  }
  void check_lengths() const {
    for (size_t i = 0; i < requests.size(); ++i) {
      if (bytes_wanted[i] < 0) continue;
      int received = 0;
      MPI_Get_count(&statuses[i], MPI_BYTE, &received);
      check(received == bytes_wanted[i], "rank {} of the group sent {} bytes where {} were expected", peers[i], received,
            bytes_wanted[i]);
    }
  }
};

Requests::Requests() : state_(std::make_unique<State>()) {}
Requests::~Requests() = default;
Requests::Requests(Requests&&) noexcept = default;
Requests& Requests::operator=(Requests&&) noexcept = default;

bool Requests::finished() {
  if (state_->requests.empty()) return true;
  int done = 0;
  state_->statuses.resize(state_->requests.size());
  const int status = MPI_Testall(static_cast<int>(state_->requests.size()), state_->requests.data(), &done,
                                 state_->statuses.data());
  if (status == MPI_ERR_IN_STATUS)
    for (const MPI_Status& each : state_->statuses)
      if (each.MPI_ERROR != MPI_ERR_PENDING) require(each.MPI_ERROR, "a message");
  require(status, "MPI_Testall");
  if (!done) return false;
  state_->check_lengths();
  *state_ = {};
  return true;
}

void Requests::add_unfinished(std::vector<int>& ranks) const {
  for (size_t i = 0; i < state_->requests.size(); ++i) {
    int done = 0;
    require(MPI_Request_get_status(state_->requests[i], &done, MPI_STATUS_IGNORE), "MPI_Request_get_status");
    if (!done && state_->peers[i] >= 0 && std::find(ranks.begin(), ranks.end(), state_->peers[i]) == ranks.end())
      ranks.push_back(state_->peers[i]);
  }
}

struct SharedMemory::State {
  MPI_Win window = MPI_WIN_NULL;
  ~State() {
    if (window != MPI_WIN_NULL && may_free()) MPI_Win_free(&window);
  }
};

SharedMemory::SharedMemory() = default;
SharedMemory::~SharedMemory() = default;
SharedMemory::SharedMemory(SharedMemory&&) noexcept = default;
SharedMemory& SharedMemory::operator=(SharedMemory&&) noexcept = default;

struct Group::State {
  MPI_Comm user = MPI_COMM_NULL, collective = MPI_COMM_NULL;
  int rank = 0, size = 1;
  std::vector<int> world_ranks;
  bool on_one_host = false;

  explicit State(MPI_Comm from) : user(duplicate(from)), collective(duplicate(from)) {
    MPI_Comm_rank(user, &rank);
    MPI_Comm_size(user, &size);
    int world_rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    world_ranks.resize(static_cast<size_t>(size));
    require(MPI_Allgather(&world_rank, 1, MPI_INT, world_ranks.data(), 1, MPI_INT, user), "MPI_Allgather");
    MPI_Comm host = MPI_COMM_NULL;
    require(MPI_Comm_split_type(user, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host), "MPI_Comm_split_type");
    int on_host = 0;
    MPI_Comm_size(host, &on_host);
    MPI_Comm_free(&host);
    on_one_host = on_host == size;  // the same on every rank: true on one means all are here
  }
  ~State() {
    if (!may_free()) return;
    MPI_Comm_free(&user);
    MPI_Comm_free(&collective);
  }
  MPI_Comm of(Lane lane) const { return lane == Lane::user ? user : collective; }
};

Group::Group(std::unique_ptr<State> state) : state_(std::move(state)) {}
Group::~Group() = default;
Group::Group(Group&&) noexcept = default;
Group& Group::operator=(Group&&) noexcept = default;

Group Group::world() { return Group(std::make_unique<State>(MPI_COMM_WORLD)); }
int Group::rank() const { return state_->rank; }
int Group::size() const { return state_->size; }
std::span<const int> Group::world_ranks() const { return state_->world_ranks; }
bool Group::on_one_host() const { return state_->on_one_host; }

std::optional<Group> Group::split(int color, int key) const {
  MPI_Comm part = MPI_COMM_NULL;
  require(MPI_Comm_split(state_->user, color < 0 ? MPI_UNDEFINED : color, key, &part), "MPI_Comm_split");
  if (part == MPI_COMM_NULL) return std::nullopt;
  auto state = std::make_unique<State>(part);
  MPI_Comm_free(&part);
  return Group(std::move(state));
}

Group Group::split_by_host() const {
  MPI_Comm part = MPI_COMM_NULL;
  require(MPI_Comm_split_type(state_->user, MPI_COMM_TYPE_SHARED, state_->rank, MPI_INFO_NULL, &part),
          "MPI_Comm_split_type");
  auto state = std::make_unique<State>(part);
  MPI_Comm_free(&part);
  return Group(std::move(state));
}

void Group::send(const void* data, size_t bytes, int destination, Lane lane, int tag, Requests& requests) const {
  const auto* from = static_cast<const std::byte*>(data);
  do {
    const size_t piece = std::min(bytes, kLargestMessage);
    MPI_Request& request = requests.state_->add(destination, -1);
    require(MPI_Isend(from, static_cast<int>(piece), MPI_BYTE, destination, tag, state_->of(lane), &request),
            "MPI_Isend");
    from += piece;
    bytes -= piece;
  } while (bytes > 0);
}

void Group::receive(void* data, size_t bytes, int source, Lane lane, int tag, Requests& requests) const {
  auto* to = static_cast<std::byte*>(data);
  do {
    const size_t piece = std::min(bytes, kLargestMessage);
    MPI_Request& request = requests.state_->add(source, static_cast<int>(piece));
    require(MPI_Irecv(to, static_cast<int>(piece), MPI_BYTE, source, tag, state_->of(lane), &request), "MPI_Irecv");
    to += piece;
    bytes -= piece;
  } while (bytes > 0);
}

void Group::all_gather(const void* mine, size_t bytes, void* all, Requests& requests) const {
  const int count = static_cast<int>(bytes);
  MPI_Request& request = requests.state_->add(-1, -1);
  require(MPI_Iallgather(mine, count, MPI_BYTE, all, count, MPI_BYTE, state_->collective, &request),
          "MPI_Iallgather");
}

void Group::barrier(Requests& requests) const {
  MPI_Request& request = requests.state_->add(-1, -1);
  require(MPI_Ibarrier(state_->collective, &request), "MPI_Ibarrier");
}

SharedMemory Group::share(size_t bytes) const {
  SharedMemory memory;
  if (!on_one_host()) return memory;
  // Open MPI takes this memory from /dev/shm, and touching more than that holds kills the process.
  struct statvfs space {};
  int enough = 1;
  if (::statvfs("/dev/shm", &space) == 0)
    enough = static_cast<size_t>(space.f_bavail) * space.f_frsize / 2 >= bytes * static_cast<size_t>(size());
  int all_enough = 0;
  require(MPI_Allreduce(&enough, &all_enough, 1, MPI_INT, MPI_MIN, state_->collective), "MPI_Allreduce");
  if (!all_enough) return memory;

  memory.state_ = std::make_unique<SharedMemory::State>();
  MPI_Info info = MPI_INFO_NULL;
  MPI_Info_create(&info);
  MPI_Info_set(info, "alloc_shared_noncontig", "true");  // each rank's part near that rank
  void* mine = nullptr;
  const int status = MPI_Win_allocate_shared(static_cast<MPI_Aint>(bytes), 1, info, state_->collective, &mine,
                                             &memory.state_->window);
  MPI_Info_free(&info);
  require(status, "MPI_Win_allocate_shared");
  std::memset(mine, 0, bytes);
  for (int rank = 0; rank < size(); ++rank) {
    MPI_Aint length = 0;
    int unit = 1;
    void* base = nullptr;
    require(MPI_Win_shared_query(memory.state_->window, rank, &length, &unit, &base), "MPI_Win_shared_query");
    memory.base_.push_back(static_cast<std::byte*>(base));
  }
  require(MPI_Barrier(state_->collective), "MPI_Barrier");
  return memory;
}

}  // namespace triax::mpi
