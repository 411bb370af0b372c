// Launching the ranks of one host: `triax train run.toml --nproc 8` starts itself again under mpirun,
// with the cores shared out among the ranks.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace triax {

struct LaunchPlan {
  std::vector<std::string> command;  // mpirun and its arguments, then the program and its own
  std::vector<std::pair<std::string, std::string>> environment;  // added to the present one
};

struct LaunchHost {
  int cores = 1;           // physical ones this process may use
  bool all_cores = true;   // of the machine; else mpirun, which would take others too, must not bind
  bool root = false;
  bool threads_set = false;  // the user has set OMP_NUM_THREADS
};
LaunchHost this_host();

// Each rank gets cores / ranks threads, and is bound to as many cores if there are enough for all.
LaunchPlan plan_launch(const LaunchHost& host, int ranks, const std::string& mpirun, const std::string& program,
                       std::span<const std::string> arguments);

// The path of a program in a list of folders such as $PATH; empty if there is none.
std::string find_program(std::string_view name, std::string_view path);

// The arguments after the program's name, without `option` and its value ("--nproc 8" or "--nproc=8").
std::vector<std::string> arguments_without(std::string_view option, int argc, const char* const* argv);

// The same of this process's own arguments.
std::vector<std::string> own_arguments_without(std::string_view option);

// Replaces this process by mpirun running this program with these arguments on `ranks` ranks. Does not
// return; throws Error if mpirun is missing, or if this process is a rank already.
[[noreturn]] void relaunch_under_mpirun(int ranks, std::span<const std::string> arguments);

}  // namespace triax
