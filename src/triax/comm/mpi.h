// The little of MPI that triax uses, without <mpi.h>: groups of ranks, non-blocking messages, memory
// shared within a host. mpi.cpp is the only file that includes <mpi.h>.
//
// Nothing here locks: the callers (progress.h) make sure that one thread at a time is inside, which is
// MPI_THREAD_SERIALIZED. An MPI error is an Error with MPI's own text.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace triax::mpi {

// MPI from initialisation to finalisation. There may be one in a process's life.
class Session {
 public:
  Session();
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
};
// "Open MPI v4.1.4": of the library that is linked; no session is needed.
std::string library_version();
// Ends all ranks of the job, now.
[[noreturn]] void abort_job(int status);

// Messages on their way.
class Requests {
 public:
  Requests();
  ~Requests();
  Requests(Requests&&) noexcept;
  Requests& operator=(Requests&&) noexcept;
  // Moves things on as far as possible; true when all are complete (and when there are none).
  bool finished();
  // Ranks of the group on the other side of what is not complete.
  void add_unfinished(std::vector<int>& ranks) const;

 private:
  friend class Group;
  struct State;
  std::unique_ptr<State> state_;
};

// Memory of every rank of a group, visible to all of them.
class SharedMemory {
 public:
  SharedMemory();
  ~SharedMemory();
  SharedMemory(SharedMemory&&) noexcept;
  SharedMemory& operator=(SharedMemory&&) noexcept;
  explicit operator bool() const { return !base_.empty(); }
  std::byte* of_rank(int rank) const { return base_[static_cast<size_t>(rank)]; }

 private:
  friend class Group;
  struct State;
  std::unique_ptr<State> state_;
  std::vector<std::byte*> base_;
};

// Which traffic a message belongs to; the two never meet.
enum class Lane { user, collective };

class Group {
 public:
  static Group world();
  ~Group();
  Group(Group&&) noexcept;
  Group& operator=(Group&&) noexcept;

  int rank() const;
  int size() const;
  std::span<const int> world_ranks() const;  // of the group's ranks
  bool on_one_host() const;

  // Ranks with the same colour form a group, ordered by key; a negative colour is in none. Collective.
  std::optional<Group> split(int color, int key) const;
  // The ranks of this group on this host; collective.
  Group split_by_host() const;

  // Any size; messages of a pair, lane and tag arrive in the order of sending.
  void send(const void* data, size_t bytes, int destination, Lane lane, int tag, Requests& requests) const;
  void receive(void* data, size_t bytes, int source, Lane lane, int tag, Requests& requests) const;
  // all <- `bytes` of every rank, in rank order. bytes < 2^31.
  void all_gather(const void* mine, size_t bytes, void* all, Requests& requests) const;
  void barrier(Requests& requests) const;

  // Memory of `bytes` for each rank, zero at first; empty if the ranks are not all on one host, or if
  // it has too little shared memory left. Collective.
  SharedMemory share(size_t bytes) const;

 private:
  struct State;
  explicit Group(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace triax::mpi
