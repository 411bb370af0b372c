// Collectives between GPUs by NCCL, started by messages of another communicator; everything else, sends and receives too,
// goes through that one.
#pragma once

#include <memory>
#include <string>

#include "triax/comm/communicator.h"

namespace triax {

// Why this build or this machine has no NCCL; empty when it has.
std::string nccl_missing();

// Collective: every rank of `bootstrap` calls it, each with a GPU of its own. `bootstrap` must take tensors of any device.
std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> bootstrap, Device device);

}  // namespace triax
