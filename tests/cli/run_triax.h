// Runs the program as a user would, through the shell.
#pragma once

#include <string>

namespace triax {

struct ProgramResult {
  int status = 0;  // exit status
  std::string out, err;
};

// `arguments` as typed after "triax".
ProgramResult run_triax(const std::string& arguments);
// Any command line.
ProgramResult run_shell(const std::string& command);

}  // namespace triax
