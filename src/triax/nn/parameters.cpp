#include "triax/nn/parameters.h"

#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/base/parallel.h"
#include "triax/base/rng.h"
#include "triax/kernels/elementwise.h"

namespace triax {
namespace {

constexpr int64_t kAlignment = 64;  // elements: a cache line of any type, and an even ZeRO shard

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

void fill_normal(const ParameterSpec& spec, uint64_t seed, float* values) {
  const uint64_t stream = hash64(spec.name);
  parallel_for(spec.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      values[i] = spec.init_std *
                  philox_normal(seed, stream, static_cast<uint64_t>(global_index(spec, i)));
  });
}

}  // namespace

int ParameterTable::add(ParameterSpec spec) {
  if (spec.offset.rank() != spec.shape.rank()) {
    spec.offset = spec.shape;
    for (int axis = 0; axis < spec.offset.rank(); ++axis) spec.offset[axis] = 0;
  }
  spec.begin = flat_size_;
  flat_size_ += (spec.numel() + kAlignment - 1) / kAlignment * kAlignment;
  specs_.push_back(std::move(spec));
  return static_cast<int>(specs_.size()) - 1;
}

int64_t ParameterTable::num_parameters() const {
  int64_t count = 0;
  for (const ParameterSpec& spec : specs_) count += spec.numel();
  return count;
}

Parameters::Parameters(ParameterTable table, DType compute_type, bool with_gradients, Device device)
    : table_(std::move(table)), compute_type_(compute_type) {
  const auto count = static_cast<size_t>(table_.flat_size());
  master_ = Buffer(count * sizeof(float), device);
  if (with_gradients) gradient_ = Buffer(count * sizeof(float), device);
  if (compute_type != DType::f32) copy_ = Buffer(count * size_of(compute_type), device);
}

Tensor Parameters::view(const Buffer& buffer, int index, DType dtype) const {
  const ParameterSpec& spec = table_[index];
  if (!buffer.data()) return {};
  return {static_cast<char*>(buffer.data()) + spec.begin * static_cast<int64_t>(size_of(dtype)),
          spec.shape, dtype, buffer.device()};
}

Tensor Parameters::flat(const Buffer& buffer, DType dtype) const {
  if (!buffer.data()) return {};
  return {buffer.data(), {table_.flat_size()}, dtype, buffer.device()};
}

Tensor Parameters::weight(int index) const {
  return copy_.data() && table_[index].compute_copy ? view(copy_, index, compute_type_)
                                                    : master(index);
}

Tensor Parameters::flat_copy() const { return flat(copy_, compute_type_); }

void Parameters::initialize(const Context& context, uint64_t seed) {
  for (int index = 0; index < static_cast<int>(table_.specs().size()); ++index) {
    const ParameterSpec& spec = table_[index];
    const Tensor values = master(index);
    if (spec.init == Init::normal) {
      fill_normal(spec, seed, values.data<float>());
    } else {
      fill(context, values, spec.init == Init::ones ? 1.0f : 0.0f);
    }
  }
  refresh_copies(context);
}

void Parameters::refresh_copies(const Context& context) {
  if (copy_.data()) convert(context, flat_master(), flat_copy());
}

std::vector<MemoryUse> Parameters::memory() const {
  std::vector<MemoryUse> rows = {{"weights (f32)", master_.bytes()}};
  if (copy_.bytes()) rows.push_back({"weights (" + std::string(name_of(compute_type_)) + ")", copy_.bytes()});
  if (gradient_.bytes()) rows.push_back({"gradients (f32)", gradient_.bytes()});
  return rows;
}

}  // namespace triax
