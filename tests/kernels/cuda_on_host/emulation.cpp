#undef _FORTIFY_SOURCE  // its longjmp does not know that there is more than one stack
#include "kernels/cuda_on_host/emulation.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "triax/base/error.h"

namespace triax::cuda_on_host {
namespace {

constexpr size_t kStackBytes = size_t{128} << 10;
constexpr uint32_t kLanes = 32;

struct Copy {
  void* to;
  const void* from;
  bool here;
};

struct Fiber {
  FiberPlace place;
  jmp_buf state;
  std::unique_ptr<char[]> stack;
  bool started = false, done = false, waiting = false;
  uint32_t said = 0;  // how often: even and odd times use different memory, so that one barrier is enough
  std::vector<Copy> copies;
  std::vector<size_t> groups;  // where they end
};

// What the lanes of a warp say, twice; and how many have.
struct Warp {
  unsigned char said[2][kLanes][kSaid];
  uint32_t arrived = 0;
};

struct Machine {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  std::vector<unsigned char> shared;
  jmp_buf scheduler;
  ucontext_t begin{};
  Fiber* current = nullptr;
  const std::function<void()>* body = nullptr;
  uint32_t threads = 0, at_barrier = 0, running = 0;
};

Machine& machine() {
  static Machine one;
  return one;
}

void to_scheduler() {
  Machine& m = machine();
  if (_setjmp(m.current->state) == 0) _longjmp(m.scheduler, 1);
}

// A fiber lives on from block to block.
void live() {
  for (;;) {
    (*machine().body)();
    machine().current->done = true;
    to_scheduler();
  }
}

void resume(Fiber& fiber) {
  Machine& m = machine();
  m.current = &fiber;
  fiber_place = &fiber.place;
  if (_setjmp(m.scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.state, 1);
  fiber.started = true;
  getcontext(&m.begin);
  m.begin.uc_stack.ss_sp = fiber.stack.get();
  m.begin.uc_stack.ss_size = kStackBytes;
  m.begin.uc_link = nullptr;
  makecontext(&m.begin, &live, 0);
  setcontext(&m.begin);
}

const float* make_half_values() {
  static std::array<float, 65536> values;
  for (uint32_t bits = 0; bits < values.size(); ++bits)
    values[bits] = static_cast<float>(std::bit_cast<triax::f16>(static_cast<uint16_t>(bits)));
  return values.data();
}

void release(uint32_t first, uint32_t count) {
  for (uint32_t i = first; i < first + count; ++i) machine().fibers[i]->waiting = false;
}

void run_block() {
  Machine& m = machine();
  m.running = m.threads;
  while (m.running > 0) {
    bool moved = false;
    for (uint32_t i = 0; i < m.threads; ++i) {
      Fiber& fiber = *m.fibers[i];
      if (fiber.done || fiber.waiting) continue;
      moved = true;
      resume(fiber);
      if (fiber.done) --m.running;
      if (fiber.done && !fiber.copies.empty()) fail("a kernel ended with copies to shared memory that it did not wait for");
    }
    if (!moved) fail("a kernel's threads wait for each other: {} of {} at a barrier, the others elsewhere or gone", m.at_barrier, m.running);
  }
}

}  // namespace

std::vector<std::function<void()>>* recording = nullptr;
const FiberPlace* fiber_place = nullptr;
const float* const half_values = make_half_values();

void run_blocks(Grid grid, int threads, size_t shared_bytes, const std::function<void()>& body) {
  Machine& m = machine();
  m.body = &body;
  m.threads = static_cast<uint32_t>(threads);
  check(m.threads % kLanes == 0 && m.threads <= 1024, "a block of {} threads", threads);
  check(shared_bytes <= 227 * 1024, "a block with {} bytes of shared memory", shared_bytes);
  check(grid.y <= 65535 && grid.z <= 65535, "a grid of {} x {} x {} blocks", grid.x, grid.y, grid.z);
  m.warps.resize(m.threads / kLanes);
  m.shared.resize(std::max<size_t>(shared_bytes, 16));
  while (m.fibers.size() < m.threads) {
    m.fibers.push_back(std::make_unique<Fiber>());
    m.fibers.back()->stack = std::make_unique<char[]>(kStackBytes);
  }
  for (uint32_t z = 0; z < grid.z; ++z)
    for (uint32_t y = 0; y < grid.y; ++y)
      for (uint32_t x = 0; x < grid.x; ++x) {
        std::ranges::fill(m.shared, static_cast<unsigned char>(0xFF));
        m.at_barrier = 0;
        for (Warp& warp : m.warps) warp.arrived = 0;
        for (uint32_t i = 0; i < m.threads; ++i) {
          Fiber& fiber = *m.fibers[i];
          fiber.place = {{i, 0, 0}, {x, y, z}, grid, {m.threads, 1, 1}};
          fiber.done = fiber.waiting = false;
          fiber.said = 0;
        }
        run_block();
      }
}

void wait_for_block() {
  Machine& m = machine();
  if (++m.at_barrier == m.threads) {
    m.at_barrier = 0;
    return release(0, m.threads);
  }
  m.current->waiting = true;
  to_scheduler();
}

const unsigned char* say(const void* what, size_t bytes) {
  Machine& m = machine();
  Fiber& me = *m.current;
  const uint32_t index = me.place.thread.x;
  Warp& warp = m.warps[index / kLanes];
  auto& said = warp.said[me.said++ % 2];
  if (bytes > 0) std::memcpy(said[index % kLanes], what, bytes);
  if (++warp.arrived == kLanes) {
    warp.arrived = 0;
    release(index / kLanes * kLanes, kLanes);
  } else {
    me.waiting = true;
    to_scheduler();
  }
  return said[0];
}

void* shared_memory() { return machine().shared.data(); }

void copy_later(void* to, const void* from, bool here) { machine().current->copies.push_back({to, from, here}); }
void end_copy_group() { machine().current->groups.push_back(machine().current->copies.size()); }

void finish_copies(int pending_groups) {
  Fiber& me = *machine().current;
  const auto pending = static_cast<size_t>(pending_groups);
  if (me.groups.size() <= pending) return;
  const size_t finished = me.groups.size() - pending, end = me.groups[finished - 1];
  for (size_t i = 0; i < end; ++i) {
    const Copy& copy = me.copies[i];
    if (copy.here) {
      std::memcpy(copy.to, copy.from, 16);
    } else {
      std::memset(copy.to, 0, 16);
    }
  }
  me.copies.erase(me.copies.begin(), me.copies.begin() + static_cast<std::ptrdiff_t>(end));
  me.groups.erase(me.groups.begin(), me.groups.begin() + static_cast<std::ptrdiff_t>(finished));
  for (size_t& group : me.groups) group -= end;
}

}  // namespace triax::cuda_on_host
