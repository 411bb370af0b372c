#include "triax/train/stop_signal.h"

#include <array>
#include <csignal>

namespace triax {
namespace {

// A handler can reach nothing but a variable of static lifetime.
volatile std::sig_atomic_t received_signal = 0;

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGUSR1};

void remember(int signal) {
  if (received_signal != 0 && signal == SIGINT) {
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
  }
  received_signal = signal;
}

}  // namespace

StopSignal::StopSignal() {
  received_signal = 0;
  for (const int signal : kSignals) {
    struct sigaction action {};
    action.sa_handler = remember;
    action.sa_flags = SA_RESTART;
    sigaction(signal, &action, nullptr);
  }
}

StopSignal::~StopSignal() {
  for (const int signal : kSignals) std::signal(signal, SIG_DFL);
}

int StopSignal::received() const { return received_signal; }

}  // namespace triax
