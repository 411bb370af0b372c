#include "triax/comm/progress.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "triax/base/text.h"
#include "triax/comm/mpi.h"

namespace triax {
namespace {

constexpr size_t kRemembered = 64;
constexpr int kHangStatus = 3;

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string join(const std::vector<int>& ranks) {
  constexpr size_t kShown = 16;
  std::string text = fmt::format("{}", fmt::join(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(std::min(ranks.size(), kShown)), ", "));
  if (ranks.size() > kShown) text += fmt::format(" and {} more", ranks.size() - kShown);
  return text;
}

}  // namespace

bool OperationBody::advance() {
  promise_type& promise = handle_.promise();
  try {
    if (promise.waiting_for && !promise.waiting_for->met()) return false;
  } catch (...) {  // for the one who waits for this operation, who may not be the one who moves it
    promise.error = std::current_exception();
    return true;
  }
  promise.waiting_for = nullptr;
  handle_.resume();
  return handle_.done();
}

std::string to_string(const OperationName& name) {
  const std::string bytes = format_bytes(static_cast<double>(name.bytes));
  if (name.peer >= 0)
    return fmt::format("{} {} ({}, tag {}, rank {}) of group {}", name.what, name.sequence, bytes, name.tag, name.peer, name.group);
  return fmt::format("{} {} ({}) of group {} (ranks {})", name.what, name.sequence, bytes, name.group, join(*name.world_ranks));
}

void Patience::wait_a_little() {
  const double waited = seconds();
  if (waited < spin_seconds_) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  } else if (waited < 1e-3) {
    ::sched_yield();
  } else {
    std::this_thread::sleep_for(std::chrono::duration<double>(std::min(waited / 20, 200e-6)));
  }
}

OperationEngine::OperationEngine(OperationOptions options) : options_(options) {
  if (options_.thread) thread_ = std::thread([this] { run_thread(); });
}

OperationEngine::~OperationEngine() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void OperationEngine::set_place(StatusBoard board, int world_rank, std::string host, bool crowded) {
  board_ = std::move(board);
  crowded_ = crowded;
  world_rank_ = world_rank;
  host_ = std::move(host);
}

void OperationEngine::show(std::string_view text) {
  if (static_cast<size_t>(world_rank_) >= board_.of_world_rank.size()) return;
  StatusBoard::Entry* entry = board_.of_world_rank[static_cast<size_t>(world_rank_)];
  if (!entry) return;
  // Others read this only to print it, so a torn text does no harm; the last byte stays 0.
  const size_t length = std::min(text.size(), StatusBoard::kText - 1);
  std::memcpy(entry->text, text.data(), length);
  entry->text[length] = 0;
  entry->since_ms.store(now_ms(), std::memory_order_release);
}

void OperationEngine::start(const std::shared_ptr<Operation>& operation) {
  recent_.push_back(operation->name);
  if (recent_.size() > kRemembered) recent_.pop_front();
  active_.push_back(operation);
  advance_all();
}

void OperationEngine::advance_all() {
  // Operations are few, and those of one group come in the order in which they were started.
  for (const std::shared_ptr<Operation>& operation : active_) {
    if (operation->after) {
      if (!operation->after->done) continue;
      operation->after.reset();
    }
    if (!operation->body->advance()) continue;
    operation->error = operation->body->error();
    operation->body.reset();
    operation->done = true;
  }
  std::erase_if(active_, [](const std::shared_ptr<Operation>& operation) { return operation->done; });
}

void OperationEngine::wait(const std::shared_ptr<Operation>& operation) {
  Patience patience(crowded_);
  bool shown = false;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (!operation->done) advance_all();
      if (operation->done) break;
    }
    patience.wait_a_little();
    const double waited = patience.seconds();
    if (waited > 1e-3 && !shown) {
      show("in " + to_string(operation->name));
      shown = true;
    }
    if (waited > std::chrono::duration<double>(options_.timeout).count()) report_hang(*operation, waited);
  }
  if (shown) show("not communicating; its last wait was for " + to_string(operation->name));
  if (operation->error) std::rethrow_exception(operation->error);
}

void OperationEngine::run_thread() {
  while (!stop_) {
    {
      const std::lock_guard lock(mutex_);
      advance_all();
    }
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

std::string OperationEngine::recent_operations(size_t count) const {
  std::string text;
  for (size_t i = recent_.size() - std::min(count, recent_.size()); i < recent_.size(); ++i)
    text += to_string(recent_[i]) + "\n";
  return text;
}

void OperationEngine::report_hang(const Operation& operation, double seconds) {
  std::string text = fmt::format("triax: rank {} on {} has waited {:.3g} s in {}", world_rank_, host_, seconds, to_string(operation.name));
  std::vector<int> missing;
  std::string recent;
  {
    const std::lock_guard lock(mutex_);
    const Operation* blocking = &operation;  // a collective waits for those of its group before it
    while (blocking->after && !blocking->after->done) blocking = blocking->after.get();
    if (blocking != &operation) text += fmt::format(", which comes after {}", to_string(blocking->name));
    if (const Condition* condition = blocking->body ? blocking->body->waiting_for() : nullptr) condition->add_missing(missing);
    for (int& rank : missing) rank = (*blocking->name.world_ranks)[static_cast<size_t>(rank)];
    recent = recent_operations(4);
  }
  if (!missing.empty()) text += fmt::format("; it waits for rank {}", join(missing));
  for (const int rank : missing) {
    const auto* entry = static_cast<size_t>(rank) < board_.of_world_rank.size() ? board_.of_world_rank[static_cast<size_t>(rank)] : nullptr;
    if (entry && entry->text[0])
      text += fmt::format("\n  rank {} is {} (since {:.3g} s)", rank, entry->text,
                          static_cast<double>(now_ms() - entry->since_ms.load()) * 1e-3);
  }
  text += "\n  last started on this rank:";
  for (const std::string& line : split(recent, '\n'))
    if (!line.empty()) text += "\n    " + line;
  text += "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
  // The other ranks that wait reach their timeout at about the same time: let them speak.
  std::this_thread::sleep_for(std::min(options_.timeout / 2, std::chrono::milliseconds(2000)));
  mpi::abort_job(kHangStatus);
}

}  // namespace triax
