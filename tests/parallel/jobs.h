// Jobs of their own that the Jobs tests start (jobs_test.cpp).
#pragma once

#include <string>

namespace triax::test {

int run_job(const std::string& name);

}  // namespace triax::test
