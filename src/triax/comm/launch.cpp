#include "triax/comm/launch.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/comm/world.h"

namespace triax {
namespace {

// The number in a file of /sys; the fallback if there is none.
int number_in(const std::string& path, int fallback) {
  std::ifstream file(path);
  int value = fallback;
  return file >> value ? value : fallback;
}

// Two hardware threads of one core are one core: they share its arithmetic.
int physical_cores(const cpu_set_t& allowed) {
  std::set<std::pair<int, int>> cores;  // (package, core)
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string topology = fmt::format("/sys/devices/system/cpu/cpu{}/topology/", cpu);
    cores.insert({number_in(topology + "physical_package_id", 0), number_in(topology + "core_id", CPU_SETSIZE + cpu)});
  }
  return std::max(1, static_cast<int>(cores.size()));
}

}  // namespace

LaunchHost this_host() {
  LaunchHost host;
  const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    host.cores = physical_cores(allowed);
    host.all_cores = CPU_COUNT(&allowed) >= online;
  } else {  // more CPUs than a cpu_set_t holds
    host.cores = static_cast<int>(std::max(1L, online));
  }
  host.root = ::geteuid() == 0;
  host.threads_set = std::getenv("OMP_NUM_THREADS") != nullptr;
  return host;
}

LaunchPlan plan_launch(const LaunchHost& host, int ranks, const std::string& mpirun, const std::string& program,
                       std::span<const std::string> arguments) {
  check(ranks >= 1, "--nproc {} must be at least 1", ranks);
  const int cores_each = host.cores / ranks;  // 0: more ranks than cores
  LaunchPlan plan;
  plan.command = {mpirun, "-n", std::to_string(ranks)};
  const auto add = [&](std::initializer_list<std::string> more) { plan.command.insert(plan.command.end(), more); };
  if (cores_each == 0) add({"--oversubscribe"});
  if (cores_each >= 1 && host.all_cores) {
    add({"--map-by", fmt::format("slot:PE={}", cores_each), "--bind-to", "core"});
  } else {
    add({"--bind-to", "none"});
  }
  plan.command.push_back(program);
  plan.command.insert(plan.command.end(), arguments.begin(), arguments.end());
  if (!host.threads_set) plan.environment.emplace_back("OMP_NUM_THREADS", std::to_string(std::max(1, cores_each)));
  // Open MPI asks root, as containers run, to say twice that it is meant.
  if (host.root)
    for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"})
      plan.environment.emplace_back(name, "1");
  return plan;
}

std::string find_program(std::string_view name, std::string_view path) {
  for (const std::string& folder : split(path, ':')) {
    const std::string candidate = (std::filesystem::path(folder) / name).string();
    if (!folder.empty() && std::filesystem::is_regular_file(candidate) && ::access(candidate.c_str(), X_OK) == 0)
      return candidate;
  }
  return {};
}

std::vector<std::string> arguments_without(std::string_view option, int argc, const char* const* argv) {
  std::vector<std::string> rest;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == option) {
      ++i;  // its value
    } else if (!(argument.starts_with(option) && argument.substr(option.size()).starts_with('='))) {
      rest.emplace_back(argument);
    }
  }
  return rest;
}

std::vector<std::string> own_arguments_without(std::string_view option) {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string line((std::istreambuf_iterator<char>(file)), {});  // each argument ends with a NUL
  std::vector<const char*> own;
  for (size_t begin = 0; begin < line.size(); begin = line.find('\0', begin) + 1) own.push_back(line.data() + begin);
  return arguments_without(option, static_cast<int>(own.size()), own.data());
}

void relaunch_under_mpirun(int ranks, std::span<const std::string> arguments) {
  check(!started_by_launcher(), "--nproc starts the ranks itself: leave out either --nproc or mpirun (srun)");
  const char* path = std::getenv("PATH");
  const std::string mpirun = find_program("mpirun", path ? path : "/usr/local/bin:/usr/bin:/bin");
  check(!mpirun.empty(), "--nproc {} needs mpirun, which is not in PATH: install Open MPI (apt-get install openmpi-bin)", ranks);
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  LaunchPlan plan = plan_launch(this_host(), ranks, mpirun, program, arguments);
  for (const auto& [name, value] : plan.environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv;
  for (std::string& argument : plan.command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ::execv(mpirun.c_str(), argv.data());
  fail("{} cannot be started: {}", mpirun, std::strerror(errno));
}

}  // namespace triax
