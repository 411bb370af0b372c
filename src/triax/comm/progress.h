// OperationEngine: runs the operations a rank has started, and notices when one does not end.
//
// An operation is a coroutine that suspends until a Condition is met (messages complete, another rank
// has written its part). Nothing runs by itself: operations move on whenever any start_ or wait is
// called on this rank, and, if asked for, in a thread of their own. On a CPU that thread takes its time
// from the computation, so it pays only when a core is free for it or a network card does the moving.
//
// A rank that waits longer than the timeout says what it waits for and whom, and ends the job.
#pragma once

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace triax {

class Condition {
 public:
  virtual bool met() = 0;
  // The ranks of the group whose doing is missing, where that is known.
  virtual void add_missing(std::vector<int>& ranks) const = 0;

 protected:
  ~Condition() = default;
};

// The body of an operation: `co_await condition` suspends until condition.met().
class OperationBody {
 public:
  struct promise_type {
    Condition* waiting_for = nullptr;
    std::exception_ptr error;
    OperationBody get_return_object() { return OperationBody(Handle::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { error = std::current_exception(); }
    struct Await {
      Condition& condition;
      bool await_ready() { return condition.met(); }
      void await_suspend(std::coroutine_handle<promise_type> handle) { handle.promise().waiting_for = &condition; }
      void await_resume() {}
    };
    Await await_transform(Condition& condition) { return {condition}; }
    Await await_transform(Condition&& condition) { return {condition}; }  // lives until the co_await is over
  };
  using Handle = std::coroutine_handle<promise_type>;

  explicit OperationBody(Handle handle) : handle_(handle) {}
  OperationBody(OperationBody&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  OperationBody& operator=(OperationBody&&) = delete;
  ~OperationBody() {
    if (handle_) handle_.destroy();
  }
  // Runs on until the next unmet condition; true when the end is reached.
  bool advance();
  const Condition* waiting_for() const { return handle_.promise().waiting_for; }
  std::exception_ptr error() const { return handle_.promise().error; }

 private:
  Handle handle_;
};

// What the log and the watchdog say about an operation.
struct OperationName {
  const char* what = "";      // "all_reduce"
  std::string_view group;     // "tensor"; outlives the operation
  const std::vector<int>* world_ranks = nullptr;  // of the group
  uint64_t sequence = 0;      // counts the operations of the group on this rank
  size_t bytes = 0;
  int peer = -1;              // world rank, for messages
  int tag = 0;
};
std::string to_string(const OperationName& name);

struct Operation {
  OperationName name;
  std::optional<OperationBody> body;  // gone, with all it holds, when done
  std::shared_ptr<Operation> after;   // must be done before this one moves
  bool done = false;
  std::exception_ptr error;
};

struct OperationOptions {
  std::chrono::milliseconds timeout{600'000};
  bool thread = false;  // also make progress while no one waits
};

// What each rank of a host shows the others: in which wait it is. Lies in shared memory.
struct StatusBoard {
  static constexpr size_t kText = 200;
  struct Entry {
    alignas(64) std::atomic<int64_t> since_ms;  // steady clock; when it began what the text says
    char text[kText];
  };
  std::vector<Entry*> of_world_rank;  // null: not on this host
  std::atomic<int>* failed = nullptr;  // set by the first rank of the host that fails
};

class OperationEngine {
 public:
  explicit OperationEngine(OperationOptions options);
  ~OperationEngine();
  OperationEngine(const OperationEngine&) = delete;
  OperationEngine& operator=(const OperationEngine&) = delete;

  void set_place(StatusBoard board, int world_rank, std::string host, bool crowded);
  StatusBoard& board() { return board_; }
  int world_rank() const { return world_rank_; }
  const OperationOptions& options() const { return options_; }

  // Held while MPI is called.
  std::mutex& mutex() { return mutex_; }
  // Starts it, and moves it as far as it goes at once. Call with the mutex held.
  void start(const std::shared_ptr<Operation>& operation);
  // Returns when it is done; rethrows its error. Call without the mutex.
  void wait(const std::shared_ptr<Operation>& operation);
  // The last operations started on this rank, oldest first, one a line.
  std::string recent_operations(size_t count) const;

 private:
  void advance_all();
  void run_thread();
  void show(std::string_view text);
  [[noreturn]] void report_hang(const Operation& operation, double seconds);

  OperationOptions options_;
  StatusBoard board_;
  int world_rank_ = 0;
  std::string host_;
  bool crowded_ = true;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Operation>> active_;
  std::deque<OperationName> recent_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// How a waiting thread passes the time: spins at first, then leaves the core to others for a small
// part of what it has waited already. `crowded`: there are more ranks than cores, so spin only briefly.
class Patience {
 public:
  explicit Patience(bool crowded) : spin_seconds_(crowded ? 2e-6 : 100e-6) {}
  void wait_a_little();
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
  double spin_seconds_;
};

}  // namespace triax
