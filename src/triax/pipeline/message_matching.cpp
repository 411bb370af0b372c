#include "triax/pipeline/message_matching.h"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

#include "triax/base/error.h"

namespace triax {
namespace {

struct Started {
  int rank;
  size_t index;
  Action action;
};

MessageMatching match_started(ActionLists lists) {
  using MessageKey = std::tuple<int, int, Payload>;
  std::map<MessageKey, std::array<std::vector<Started>, 2>> channels;
  MessageMatching matching;
  for (int rank = 0; rank < static_cast<int>(lists.size()); ++rank) {
    const std::vector<Action>& list = lists[static_cast<size_t>(rank)];
    matching.of_action.emplace_back(list.size(), -1);
    for (size_t index = 0; index < list.size(); ++index) {
      const Action& action = list[index];
      if (!action.is_message()) continue;
      if (action.peer < 0 || action.peer >= static_cast<int>(lists.size()) || action.peer == rank)
        fail_in_schedule(rank, index, action, "there is no such other rank");
      if (action.kind == ActionKind::start_send)
        channels[{rank, action.peer, action.payload}][0].push_back({rank, index, action});
      if (action.kind == ActionKind::start_receive)
        channels[{action.peer, rank, action.payload}][1].push_back({rank, index, action});
    }
  }
  for (const auto& [channel, sides] : channels) {
    const auto& [sends, receives] = sides;
    for (size_t k = 0; k < std::max(sends.size(), receives.size()); ++k) {
      if (k >= receives.size()) fail_in_schedule(sends[k].rank, sends[k].index, sends[k].action, "nobody receives it");
      if (k >= sends.size()) fail_in_schedule(receives[k].rank, receives[k].index, receives[k].action, "nobody sends it");
      const Started &sent = sends[k], &received = receives[k];
      if (sent.action.tag != received.action.tag || sent.action.micro_batch != received.action.micro_batch)
        fail("{} with tag {} meets {} with tag {}", place_in_schedule(sent.rank, sent.index, sent.action), sent.action.tag,
             place_in_schedule(received.rank, received.index, received.action), received.action.tag);
      const int id = static_cast<int>(matching.messages.size());
      matching.of_action[static_cast<size_t>(sent.rank)][sent.index] = id;
      matching.of_action[static_cast<size_t>(received.rank)][received.index] = id;
      matching.messages.push_back({.source = sent.rank,
                                   .destination = received.rank,
                                   .send = sent.action,
                                   .receive = received.action,
                                   .before = k == 0 ? -1 : id - 1});
    }
  }
  return matching;
}

// Waits find the start with the same description before them on their rank.
void match_waits(ActionLists lists, MessageMatching& matching) {
  for (size_t rank = 0; rank < lists.size(); ++rank) {
    std::map<std::tuple<bool, Payload, int, int, int>, int> started;
    const auto key = [](const Action& a) {
      const bool sends = a.kind == ActionKind::start_send || a.kind == ActionKind::wait_send;
      return std::tuple(sends, a.payload, a.peer, a.micro_batch, a.chunk);
    };
    for (size_t index = 0; index < lists[rank].size(); ++index) {
      const Action& action = lists[rank][index];
      if (!action.is_message()) continue;
      int& id = matching.of_action[rank][index];
      if (action.kind == ActionKind::start_send || action.kind == ActionKind::start_receive) {
        if (!started.emplace(key(action), id).second)
          fail_in_schedule(static_cast<int>(rank), index, action, "it was started before and not waited for");
        continue;
      }
      const auto found = started.find(key(action));
      if (found == started.end()) fail_in_schedule(static_cast<int>(rank), index, action, "it was not started");
      id = found->second;
      started.erase(found);
    }
    check(started.empty(), "rank {} ends without waiting for {} of its messages", rank, started.size());
  }
}

}  // namespace

MessageMatching match_messages(ActionLists lists) {
  MessageMatching matching = match_started(lists);
  match_waits(lists, matching);
  return matching;
}

std::string place_in_schedule(int rank, size_t index, const Action& action) {
  return fmt::format("rank {}, action {} ({})", rank, index, to_string(action));
}

void fail_in_schedule(int rank, size_t index, const Action& action, std::string_view fault) {
  fail("{}: {}", place_in_schedule(rank, index, action), fault);
}

}  // namespace triax
