// Jobs that fail: started under mpirun by the Failure tests (failure_test.cpp).
#pragma once

#include <string>

namespace triax::test {

int run_job(const std::string& name);

}  // namespace triax::test
