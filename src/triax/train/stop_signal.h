// SIGINT and SIGTERM as a flag that the training loop looks at between steps.
#pragma once

namespace triax {

// While one lives, the first SIGINT or SIGTERM (or, from Slurm's --signal, SIGUSR1) sets the flag instead
// of ending the process; a second SIGINT ends it at once. One at a time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  // The signal that came, or 0.
  int received() const;
};

}  // namespace triax
