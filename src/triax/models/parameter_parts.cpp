#include "triax/models/parameter_parts.h"

#include <algorithm>

namespace triax {
namespace {

// The part of a parameter's box that lies inside the global tensor: all but the padding rows.
Region stored_region(const ParameterSpec& spec) {
  Shape shape = spec.shape;
  if (shape.rank() > 0)
    shape[0] = std::clamp<int64_t>(spec.global_shape[0] - spec.offset[0], 0, shape[0]);
  return box_region(spec.offset, shape);
}

// `within(segment)`: the stretch of a segment to take.
template <typename Within>
std::vector<ParameterPart> parts_within(const Parameters& parameters, Within&& within) {
  std::vector<ParameterPart> parts;
  for (const ParameterSpec& spec : parameters.table().specs()) {
    const Segment mine = within(parameters.table().units()[static_cast<size_t>(spec.unit)].segments[spec.matrix ? 0 : 1]);
    const Region box = stored_region(spec);
    const int64_t begin = std::max(spec.begin, mine.begin);
    const int64_t end = std::min(spec.begin + box.numel(), mine.begin + mine.size);
    if (begin >= end) continue;
    parts.push_back({&spec, begin, end - begin,
                     flat_region(box.offset, box.shape, begin - spec.begin, end - spec.begin)});
  }
  return parts;
}

}  // namespace

std::vector<ParameterPart> shares_of(const Parameters& parameters) {
  return parts_within(parameters, [&](const Segment& s) { return parameters.shard(s); });
}

std::vector<ParameterPart> owned_parts(const Parameters& parameters) {
  const bool sharded = parameters.sharding().state();
  return parts_within(parameters, [&](const Segment& s) { return sharded ? parameters.shard(s) : s; });
}

}  // namespace triax
