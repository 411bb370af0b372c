#include "triax/nn/parameters.h"

#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/base/numbers.h"
#include "triax/base/parallel.h"
#include "triax/base/rng.h"
#include "triax/kernels/elementwise.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

constexpr int64_t kAlignment = 64;  // elements: a cache line of any type


// Row-major index in the global tensor of element `local` of the box.
int64_t global_index(const ParameterSpec& spec, int64_t local) {
  int64_t index = 0, stride = 1;
  for (int axis = spec.shape.rank() - 1; axis >= 0; --axis) {
    index += (local % spec.shape[axis] + spec.offset[axis]) * stride;
    local /= spec.shape[axis];
    stride *= spec.global_shape[axis];
  }
  return index;
}

// Elements [begin, begin + count) of the parameter, drawn on the host.
void fill_normal(const ParameterSpec& spec, uint64_t seed, int64_t first, const Tensor& to) {
  const uint64_t stream = hash64(spec.name);
  const bool on_host = to.device().on_host();
  const OwnedTensor staged(on_host ? Shape{0} : to.shape(), DType::f32);
  float* values = on_host ? to.data<float>() : staged.view().data<float>();
  parallel_for(to.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      values[i] = spec.init_std * philox_normal(seed, stream, static_cast<uint64_t>(global_index(spec, first + i)));
  });
  if (!on_host) copy_between_devices(staged, to);
}

struct Sizes {
  size_t weights = 0, master = 0, gradient = 0;
};

Sizes sizes_of(const ParameterTable& table, DType compute_type, bool with_gradients, const Sharding& sharding) {
  Sizes sizes;
  for (const ParameterUnit& unit : table.units()) sizes.weights += weight_bytes(unit, compute_type);
  const auto all = static_cast<size_t>(table.flat_size()) * sizeof(float), ranks = static_cast<size_t>(sharding.size);
  if (sharding.weights()) sizes.weights /= ranks;
  if (compute_type != DType::f32) sizes.master = sharding.state() ? all / ranks : all;
  if (with_gradients) sizes.gradient = sharding.gradients() ? all / ranks : all;
  return sizes;
}

}  // namespace

ParameterSpec ParameterSpec::make_matrix(std::string name, int64_t rows, int64_t columns, float std) {
  return {.name = std::move(name), .global_shape = {rows, columns}, .shape = {rows, columns}, .offset = {0, 0},
          .init = Init::normal, .init_std = std, .matrix = true};
}

ParameterSpec ParameterSpec::make_vector(std::string name, int64_t size, Init init) {
  return {.name = std::move(name), .global_shape = {size}, .shape = {size}, .offset = {}, .init = init};
}

size_t weight_bytes(const ParameterUnit& unit, DType compute_type) {
  return static_cast<size_t>(unit.segments[0].size) * size_of(compute_type) +
         static_cast<size_t>(unit.segments[1].size) * sizeof(float);
}

int ParameterTable::begin_unit(std::string name, bool is_layer) {
  units_.push_back({.name = std::move(name), .is_layer = is_layer, .segments = {}});
  return static_cast<int>(units_.size()) - 1;
}

int ParameterTable::add(ParameterSpec spec) {
  if (units_.empty()) begin_unit(spec.name);
  if (spec.offset.rank() != spec.shape.rank()) {
    spec.offset = spec.shape;
    for (int axis = 0; axis < spec.offset.rank(); ++axis) spec.offset[axis] = 0;
  }
  spec.unit = static_cast<int>(units_.size()) - 1;
  specs_.push_back(std::move(spec));
  return static_cast<int>(specs_.size()) - 1;
}

void ParameterTable::lay_out(int shards) {
  flat_size_ = 0;
  for (size_t u = 0; u < units_.size(); ++u) {
    ParameterUnit& unit = units_[u];
    unit.begin = flat_size_;
    unit.replicated_begin = unit.replicated_end = -1;
    for (const bool matrices : {true, false}) {
      Segment& segment = unit.segments[matrices ? 0 : 1];
      segment.begin = flat_size_;
      segment.matrices = matrices;
      for (const bool split : {matrices, !matrices})  // what is whole lies together in the middle
        for (ParameterSpec& spec : specs_) {
          if (spec.unit != static_cast<int>(u) || spec.matrix != matrices || spec.split != split) continue;
          spec.begin = flat_size_;
          flat_size_ += round_up(spec.numel(), kAlignment);
          if (split) continue;
          if (unit.replicated_begin < 0) unit.replicated_begin = spec.begin;
          unit.replicated_end = flat_size_;
        }
      flat_size_ = segment.begin + round_up(flat_size_ - segment.begin, kAlignment * shards);
      segment.size = flat_size_ - segment.begin;
    }
    unit.size = flat_size_ - unit.begin;
    if (unit.replicated_begin < 0) unit.replicated_begin = unit.replicated_end = unit.begin;
  }
}

int64_t ParameterTable::num_parameters() const {
  int64_t count = 0;
  for (const ParameterSpec& spec : specs_) count += spec.numel();
  return count;
}

Parameters::Parameters(ParameterTable table, DType compute_type, bool with_gradients, Sharding sharding,
                       Device device)
    : table_(std::move(table)), compute_type_(compute_type), with_gradients_(with_gradients), sharding_(sharding),
      device_(device) {
  table_.lay_out(sharding.size);
  for (const ParameterUnit& unit : table_.units())
    for (const Segment& segment : unit.segments) {
      if (segment.size == 0) continue;
      const Segment mine = sharding_.state() ? shard(segment) : segment;
      owned_.push_back({.unit = static_cast<int>(&unit - table_.units().data()), .matrices = mine.matrices,
                        .begin = mine.begin, .size = mine.size, .at = owned_size_});
      owned_size_ += mine.size;
    }
  const Sizes sizes = sizes_of(table_, compute_type, with_gradients, sharding_);
  weights_ = Buffer(sizes.weights, device, "weights");
  master_ = Buffer(sizes.master, device, "weights (f32 master)");
  gradient_ = Buffer(sizes.gradient, device, "gradients");
  size_t bytes = 0;
  for (const ParameterUnit& unit : table_.units()) {
    weights_of_unit_.push_back(sharding_.weights() ? nullptr : static_cast<std::byte*>(weights_.data()) + bytes);
    const bool resident = with_gradients && !sharding_.gradients();
    gradients_of_unit_.push_back(resident ? static_cast<float*>(gradient_.data()) + unit.begin : nullptr);
    bytes += weight_bytes(unit, compute_type);
  }
}

Segment Parameters::shard(const Segment& segment) const {
  const int64_t size = segment.size / sharding_.size;
  return {.begin = segment.begin + size * sharding_.rank, .size = size, .matrices = segment.matrices};
}

Tensor Parameters::weights(int unit, const Segment& segment) const {
  std::byte* memory = weights_of_unit_[static_cast<size_t>(unit)];
  const ParameterUnit& all = table_.units()[static_cast<size_t>(unit)];
  if (!memory) fail("the weights of {} are used while they are not resident", all.name);
  if (!segment.matrices) memory += static_cast<size_t>(all.segments[0].size) * size_of(compute_type_);
  const int64_t first = segment.begin - all.segments[segment.matrices ? 0 : 1].begin;
  return {memory + static_cast<size_t>(first) * size_of(type_of(segment.matrices)), {segment.size},
          type_of(segment.matrices), weights_.device()};
}

Tensor Parameters::weight(int index) const {
  const ParameterSpec& spec = table_[index];
  const Tensor flat = weights(spec.unit, {.begin = spec.begin, .size = spec.numel(), .matrices = spec.matrix});
  return flat.reshape(spec.shape);
}

Tensor Parameters::unit_gradients(int unit) const {
  float* memory = gradients_of_unit_[static_cast<size_t>(unit)];
  const ParameterUnit& all = table_.units()[static_cast<size_t>(unit)];
  if (!memory) fail("the gradients of {} are used while they are not resident", all.name);
  return {memory, {all.size}, DType::f32, gradient_.device()};
}

Tensor Parameters::gradient(int index) const {
  if (!with_gradients_) return {};
  const ParameterSpec& spec = table_[index];
  const int64_t first = spec.begin - table_.units()[static_cast<size_t>(spec.unit)].begin;
  return unit_gradients(spec.unit).narrow(0, first, spec.numel()).reshape(spec.shape);
}

Tensor Parameters::flat_gradient() const {
  return {gradient_.data(), {static_cast<int64_t>(gradient_.bytes() / sizeof(float))}, DType::f32, gradient_.device()};
}

Tensor Parameters::gradient_at(int64_t begin, int64_t size) const {
  return flat_gradient().narrow(0, sharding_.gradients() ? owned_offset(begin) : begin, size);
}

int64_t Parameters::owned_offset(int64_t begin) const {
  if (!sharding_.state()) return begin;
  auto range = std::upper_bound(owned_.begin(), owned_.end(), begin,
                                [](int64_t value, const OwnedRange& r) { return value < r.begin; });
  check(range != owned_.begin(), "element {} of the flat layout is not this rank's", begin);
  --range;
  check(begin <= range->begin + range->size, "element {} of the flat layout is not this rank's", begin);
  return range->at + begin - range->begin;
}

Tensor Parameters::master_at(int64_t begin, int64_t size) const {
  const bool whole = !sharding_.state() || (!separate_master() && !sharding_.weights());
  const Buffer& buffer = separate_master() ? master_ : weights_;
  return {static_cast<float*>(buffer.data()) + (whole ? begin : owned_offset(begin)), {size}, DType::f32,
          buffer.device()};
}

Tensor Parameters::master(const OwnedRange& range) const { return master_at(range.begin, range.size); }

Tensor Parameters::master(int index) const {
  const ParameterSpec& spec = table_[index];
  check(!sharding_.state(), "{} is sharded: it is not whole on any rank", spec.name);
  return master_at(spec.begin, spec.numel()).reshape(spec.shape);
}

Tensor Parameters::owned_weights(const Segment& segment) const {
  // Sharded weights lie in the order of the segments, each a part of its share of all bytes.
  size_t bytes = 0;
  for (const ParameterUnit& unit : table_.units()) {
    if (segment.begin < unit.begin + unit.size) {
      if (!segment.matrices) bytes += static_cast<size_t>(unit.segments[0].size) * size_of(compute_type_);
      break;
    }
    bytes += weight_bytes(unit, compute_type_);
  }
  return {static_cast<std::byte*>(weights_.data()) + bytes / static_cast<size_t>(sharding_.size),
          {segment.size / sharding_.size}, type_of(segment.matrices), weights_.device()};
}

Tensor Parameters::copy(const OwnedRange& range) const {
  if (!separate_master()) return {};
  const ParameterUnit& unit = table_.units()[static_cast<size_t>(range.unit)];
  if (sharding_.weights()) return owned_weights(unit.segments[range.matrices ? 0 : 1]);
  return weights(range.unit, {.begin = range.begin, .size = range.size, .matrices = range.matrices});
}

void Parameters::initialize(const Context& context, uint64_t seed) {
  for (const ParameterSpec& spec : table_.specs())
    for (const OwnedRange& range : owned_) {
      const int64_t begin = std::max(spec.begin, range.begin);
      const int64_t size = std::min(spec.begin + spec.numel(), range.begin + range.size) - begin;
      if (size <= 0) continue;
      const Tensor values = master_at(begin, size);
      if (spec.init == Init::normal) {
        fill_normal(spec, seed, begin - spec.begin, values);
      } else {
        fill(context, values, spec.init == Init::ones ? 1.0f : 0.0f);
      }
    }
  refresh_copies(context);
}

void Parameters::refresh_copies(const Context& context) {
  if (!separate_master()) return;
  for (const OwnedRange& range : owned_) convert(context, master(range), copy(range));
}

std::vector<MemoryUse> Parameters::memory(const ParameterTable& table, DType compute_type, bool with_gradients,
                                          const Sharding& sharding) {
  const Sizes sizes = sizes_of(table, compute_type, with_gradients, sharding);
  std::vector<MemoryUse> rows = {{"weights (" + std::string(name_of(compute_type)) + ")", sizes.weights}};
  if (sizes.master) rows.push_back({"weights (f32 master)", sizes.master});
  if (sizes.gradient) rows.push_back({"gradients (f32)", sizes.gradient});
  return rows;
}

}  // namespace triax
