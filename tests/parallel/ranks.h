// What multi-rank tests share.
#pragma once

#include "triax/comm/world.h"

namespace triax::test {

// Of the running job.
World& world();

}  // namespace triax::test
