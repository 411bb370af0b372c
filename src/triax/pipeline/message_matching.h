// Which messages the lists of a pipeline's ranks exchange: the k-th send started on a channel goes to the k-th
// receive started on it, as transports match them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "triax/pipeline/schedule_properties.h"

namespace triax {

struct MatchedMessage {
  int source = 0, destination = 0;
  Action send, receive;
  int before = -1;  // the message before it on its channel, whose messages have consecutive numbers
};

struct MessageMatching {
  std::vector<MatchedMessage> messages;
  std::vector<std::vector<int>> of_action;  // like the lists: the number of the message; -1 for computations
};
// Throws Error naming rank, action and fault when a message or a wait has no other side.
MessageMatching match_messages(ActionLists lists);

// "rank 1, action 7 (forward of micro-batch 0, chunk 0)"
std::string place_in_schedule(int rank, size_t index, const Action& action);
[[noreturn]] void fail_in_schedule(int rank, size_t index, const Action& action, std::string_view fault);

}  // namespace triax
