#include "triax/optim/data_parallel.h"

#include <algorithm>
#include <functional>

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"

namespace triax {
namespace {

// Layers take turns in slots 0 and 1, so that one can be exchanged while another is used; every other unit
// has a slot of its own.
std::vector<int> assign_slots(const ParameterTable& table) {
  std::vector<int> slots;
  int layers = 0, next = 2;
  for (const ParameterUnit& unit : table.units()) slots.push_back(unit.is_layer ? layers++ % 2 : next++);
  return slots;
}

std::vector<size_t> slot_bytes(const ParameterTable& table, const std::function<size_t(const ParameterUnit&)>& bytes) {
  const std::vector<int> slots = assign_slots(table);
  std::vector<size_t> sizes(2);
  for (size_t u = 0; u < slots.size(); ++u) {
    const auto slot = static_cast<size_t>(slots[u]);
    if (slot >= sizes.size()) sizes.resize(slot + 1);
    sizes[slot] = std::max(sizes[slot], bytes(table.units()[u]));
  }
  return sizes;
}

std::vector<size_t> weight_slot_bytes(const ParameterTable& table, DType compute_type) {
  return slot_bytes(table, [&](const ParameterUnit& unit) { return weight_bytes(unit, compute_type); });
}

std::vector<size_t> gradient_slot_bytes(const ParameterTable& table) {
  return slot_bytes(table, [](const ParameterUnit& unit) { return static_cast<size_t>(unit.size) * sizeof(float); });
}

}  // namespace

DataParallel::DataParallel(Parameters& parameters, Communicator* data, Communicator* tensor, bool overlap)
    : parameters_(&parameters),
      data_(data && data->size() > 1 ? data : nullptr),
      tensor_(tensor && tensor->size() > 1 ? tensor : nullptr),
      overlap_(overlap),
      slot_of_unit_(assign_slots(parameters.table())),
      gathers_(slot_of_unit_.size()),
      reductions_(slot_of_unit_.size()) {
  const auto fill_slots = [&](std::vector<Slot>& slots, const std::vector<size_t>& bytes) {
    for (const size_t size : bytes) {
      slots.emplace_back();
      slots.back().memory = Buffer(size, parameters.device(), "gathered weights, gradients");
    }
  };
  if (parameters.sharding().weights())
    fill_slots(weight_slots_, weight_slot_bytes(parameters.table(), parameters.compute_type()));
  if (parameters.with_gradients() && parameters.sharding().gradients()) fill_slots(gradient_slots_, gradient_slot_bytes(parameters.table()));
}

DataParallel::~DataParallel() = default;

size_t DataParallel::buffer_bytes(const ParameterTable& table, DType compute_type, bool with_gradients,
                                  const Sharding& sharding) {
  size_t total = 0;
  if (sharding.weights())
    for (const size_t bytes : weight_slot_bytes(table, compute_type)) total += bytes;
  if (sharding.gradients() && with_gradients)
    for (const size_t bytes : gradient_slot_bytes(table)) total += bytes;
  return total;
}

// ---- weights

void DataParallel::start_gather(int unit) {
  Slot& slot = weight_slots_[static_cast<size_t>(slot_of_unit_[static_cast<size_t>(unit)])];
  if (slot.unit == unit) return;
  for (Request& request : slot.requests) request.wait();
  if (slot.unit >= 0) parameters_->place_weights(slot.unit, nullptr);
  slot.unit = unit;
  parameters_->place_weights(unit, slot.memory.data());
  const ParameterUnit& all = parameters_->table().units()[static_cast<size_t>(unit)];
  for (size_t i = 0; i < all.segments.size(); ++i)
    if (all.segments[i].size > 0)
      slot.requests[i] = data_->start_all_gather(parameters_->owned_weights(all.segments[i]),
                                                 parameters_->weights(unit, all.segments[i]));
}

void DataParallel::weights_needed(int unit, int next) {
  if (!parameters_->sharding().weights()) {
    for (Request& request : gathers_[static_cast<size_t>(unit)]) request.wait();
    return;
  }
  start_gather(unit);
  for (Request& request : weight_slots_[static_cast<size_t>(slot_of_unit_[static_cast<size_t>(unit)])].requests)
    request.wait();
  if (overlap_ && next >= 0) start_gather(next);
}

void DataParallel::share_weights() {
  if (!data_ || !parameters_->sharding().state()) return;
  if (parameters_->sharding().weights()) {
    for (Slot& slot : weight_slots_) {
      for (Request& request : slot.requests) request.wait();
      if (slot.unit >= 0) parameters_->place_weights(slot.unit, nullptr);
      slot.unit = -1;
    }
    return;
  }
  for (size_t unit = 0; unit < gathers_.size(); ++unit) {
    const auto& segments = parameters_->table().units()[unit].segments;
    for (size_t i = 0; i < segments.size(); ++i) {
      if (segments[i].size == 0) continue;
      const Tensor all = parameters_->weights(static_cast<int>(unit), segments[i]);
      const Segment mine = parameters_->shard(segments[i]);
      gathers_[unit][i] = data_->start_all_gather(all.narrow(0, mine.begin - segments[i].begin, mine.size), all);
      if (!overlap_) gathers_[unit][i].wait();
    }
  }
}

// ---- gradients

void DataParallel::begin_step(const Context& context, std::vector<int> uses) {
  context_ = context;
  uses_left_ = std::move(uses);
  fill(context, parameters_->flat_gradient(), 0.0f);
}

void DataParallel::gradients_needed(int unit) {
  if (gradient_slots_.empty()) return;
  Slot& slot = gradient_slots_[static_cast<size_t>(slot_of_unit_[static_cast<size_t>(unit)])];
  add_to_shard(slot);
  if (slot.unit >= 0) parameters_->place_gradients(slot.unit, nullptr);
  slot.unit = unit;
  parameters_->place_gradients(unit, slot.memory.data());
  fill(context_, parameters_->unit_gradients(unit), 0.0f);
}

void DataParallel::gradients_added(int unit) {
  int& left = uses_left_[static_cast<size_t>(unit)];
  check(left > 0, "gradients of {} were added to more often than was announced",
        parameters_->table().units()[static_cast<size_t>(unit)].name);
  --left;
  if (!gradient_slots_.empty()) {
    Slot& slot = gradient_slots_[static_cast<size_t>(slot_of_unit_[static_cast<size_t>(unit)])];
    reduce(unit, slot.requests);
    slot.to_add = true;
    if (!overlap_) add_to_shard(slot);
  } else if (left == 0) {
    reduce(unit, reductions_[static_cast<size_t>(unit)]);
    if (!overlap_)
      for (Request& request : reductions_[static_cast<size_t>(unit)]) request.wait();
  }
}

void DataParallel::reduce(int unit, Requests& requests) {
  const ParameterUnit& all = parameters_->table().units()[static_cast<size_t>(unit)];
  const Tensor gradients = parameters_->unit_gradients(unit);
  if (tensor_ && !all.sees_all_tokens && all.replicated_end > all.replicated_begin)
    tensor_->all_reduce(gradients.narrow(0, all.replicated_begin - all.begin, all.replicated_end - all.replicated_begin));
  if (!data_) return;
  if (!parameters_->sharding().state()) {
    requests[0] = data_->start_all_reduce(gradients, ReduceOp::sum);
    return;
  }
  for (size_t i = 0; i < all.segments.size(); ++i) {
    const Segment& segment = all.segments[i];
    if (segment.size == 0) continue;
    const Segment mine = parameters_->shard(segment);
    requests[i] = data_->start_reduce_scatter(gradients.narrow(0, segment.begin - all.begin, segment.size),
                                              gradients.narrow(0, mine.begin - all.begin, mine.size));
  }
}

void DataParallel::add_to_shard(Slot& slot) {
  for (Request& request : slot.requests) request.wait();
  if (!slot.to_add) return;
  slot.to_add = false;
  const ParameterUnit& all = parameters_->table().units()[static_cast<size_t>(slot.unit)];
  const Tensor gradients = parameters_->unit_gradients(slot.unit);
  for (const Segment& segment : all.segments) {
    if (segment.size == 0) continue;
    const Segment mine = parameters_->shard(segment);
    add_scaled(context_, 1.0f, gradients.narrow(0, mine.begin - all.begin, mine.size),
               parameters_->gradient_at(mine.begin, mine.size));
  }
}

void DataParallel::finish_gradients() {
  for (Requests& requests : reductions_)
    for (Request& request : requests) request.wait();
  for (Slot& slot : gradient_slots_) add_to_shard(slot);
  for (size_t unit = 0; unit < uses_left_.size(); ++unit)
    check(uses_left_[unit] == 0, "gradients of {} were added to less often than was announced",
          parameters_->table().units()[unit].name);
}

void DataParallel::finish() {
  for (Requests& requests : gathers_)
    for (Request& request : requests) request.wait();
  for (Slot& slot : weight_slots_)
    for (Request& request : slot.requests) request.wait();
}

}  // namespace triax
