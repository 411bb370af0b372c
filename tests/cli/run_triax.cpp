#include "cli/run_triax.h"

#include <sys/wait.h>

#include <cstdlib>

#include "triax/base/file.h"

namespace triax {

ProgramResult run_shell(const std::string& command) {
  const TemporaryDirectory folder;
  const std::string out = folder.path() / "out", err = folder.path() / "err";
  const int status =
      std::system(("( " + command + " ) >" + out + " 2>" + err + " </dev/null").c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(out),
          read_file(err)};
}

ProgramResult run_triax(const std::string& arguments) {
  return run_shell(TRIAX_BINARY " " + arguments);
}

}  // namespace triax
