// Exchanges between GPUs by NCCL, started by messages of another communicator, which tensors of the host go through.
#pragma once

#include <compare>
#include <memory>
#include <string>
#include <vector>

#include "triax/comm/communicator.h"

namespace triax {

// Why this build or this machine has no NCCL; empty when it has.
std::string nccl_missing();

// Messages from one rank to another whose tags have this parity. NCCL knows no tags: those of a link must be received in the
// order in which they are sent.
struct MessageLink {
  int from = 0, to = 0, parity = 0;
  auto operator<=>(const MessageLink&) const = default;
};
// Those of a pipeline of so many ranks: activations (even tags) to the next rank, gradients (odd ones) to the one before, of
// which the last and the first are neighbours too (pipeline/schedule.h).
std::vector<MessageLink> message_links(int size);

// Collective: every rank of `bootstrap` calls it, each with a GPU of its own. `bootstrap` must take tensors of any device.
// messages: for a pipeline, whose links then have streams of their own; without, nothing can be sent.
std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> bootstrap, Device device, bool messages = false);

}  // namespace triax
