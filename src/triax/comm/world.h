// World: all ranks of the job. MPI is initialised only when a launcher (mpirun, srun) started this
// process; otherwise the world is one rank, and MPI is never touched.
//
//   int main() { return run_ranks({}, [](World& world) { ...; return 0; }); }
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "triax/comm/collectives.h"
#include "triax/comm/communicator.h"
#include "triax/comm/progress.h"

namespace triax {

struct WorldOptions {
  OperationOptions progress;   // timeout of waits, progress thread
  SameHost same_host = SameHost::direct;
};

// Was this process started as a rank? Throws Error for a launch that cannot work: several tasks of
// srun without PMI, which would not know of each other. `variable` looks up the environment.
bool started_by_launcher(const std::function<const char*(const char*)>& variable);
bool started_by_launcher();

// Something that must be the same on all ranks, such as {"seed", "1234"}.
struct Fingerprint {
  std::string name, value;
};

class World {
 public:
  explicit World(WorldOptions options = {});
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int rank() const;
  int size() const;
  int local_rank() const;  // among the ranks on this host
  int local_size() const;
  const std::string& host() const;

  // All ranks; lives as long as the World.
  Communicator& communicator();
  // Ranks that give the same colour form a group, ordered by key; a negative colour gives null.
  // Collective. The World must outlive it. `name` is for messages.
  std::unique_ptr<Communicator> split(const std::string& name, int color, int key);

  // Throws the same Error on every rank, naming the ranks that differ from most, unless all agree.
  // Collective. The fingerprints must have the same names everywhere.
  void require_same(std::span<const Fingerprint> fingerprints);

  // Prints the message, once per job, and ends all ranks with exit status 1.
  [[noreturn]] void abort(std::string_view message);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Runs body in a World and returns its result. An exception on any rank ends the whole job with that
// rank's message, printed once; in a world of one rank it goes on to the caller.
int run_ranks(const WorldOptions& options, const std::function<int(World&)>& body);

}  // namespace triax
