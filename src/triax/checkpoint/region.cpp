#include "triax/checkpoint/region.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "triax/base/error.h"

namespace triax {
namespace {

// The common box of two boxes, cut into runs: stretches that are contiguous in both. Runs are numbered in
// row-major order, and where a run lies in either box grows with its number.
class Runs {
 public:
  Runs(const Region& a, const Region& b) {
    const int rank = a.shape.rank();
    if (rank != b.shape.rank()) return;
    std::array<int64_t, Shape::kMaxRank> extent{};
    int64_t a_stride = 1, b_stride = 1;
    count_ = 1;
    bool inner = true;  // every axis so far is whole in both, so that runs continue across this one
    for (int axis = rank - 1; axis >= 0; --axis) {
      const auto i = static_cast<size_t>(axis);
      const int64_t low = std::max(a.offset[axis], b.offset[axis]);
      const int64_t high = std::min(a.offset[axis] + a.shape[axis], b.offset[axis] + b.shape[axis]);
      extent[i] = high - low;
      if (extent[i] <= 0) {
        count_ = 0;
        return;
      }
      a_base_ += (low - a.offset[axis]) * a_stride;
      b_base_ += (low - b.offset[axis]) * b_stride;
      if (inner) {
        length_ *= extent[i];
      } else {
        axes_[static_cast<size_t>(num_axes_++)] = {extent[i], a_stride, b_stride};
        count_ *= extent[i];
      }
      inner = inner && extent[i] == a.shape[axis] && extent[i] == b.shape[axis];
      a_stride *= a.shape[axis];
      b_stride *= b.shape[axis];
    }
  }

  int64_t count() const { return count_; }
  int64_t length() const { return length_; }

  struct Place {
    int64_t a, b;  // the run's first element in each box's row-major order
  };
  Place operator[](int64_t run) const {
    Place place{a_base_, b_base_};
    for (int i = 0; i < num_axes_; ++i) {
      const Axis& axis = axes_[static_cast<size_t>(i)];
      const int64_t index = run % axis.extent;
      run /= axis.extent;
      place.a += index * axis.a_stride;
      place.b += index * axis.b_stride;
    }
    return place;
  }

 private:
  struct Axis {
    int64_t extent, a_stride, b_stride;
  };
  std::array<Axis, Shape::kMaxRank> axes_{};  // outside the runs, innermost first
  int num_axes_ = 0;
  int64_t count_ = 0, length_ = 1, a_base_ = 0, b_base_ = 0;
};

// The first run in [0, count) for which `reached` holds; it holds for all later ones.
template <typename Reached>
int64_t first_run(int64_t count, Reached&& reached) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (reached(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

template <typename Visit>
void visit_overlap(const Region& a, const Region& b, Visit&& visit) {
  const Runs runs(a, b);
  const int64_t length = runs.length();
  const int64_t first = first_run(runs.count(), [&](int64_t run) {
    const auto [in_a, in_b] = runs[run];
    return in_a + length > a.begin && in_b + length > b.begin;
  });
  for (int64_t run = first; run < runs.count(); ++run) {
    const auto [in_a, in_b] = runs[run];
    if (in_a >= a.end || in_b >= b.end) return;
    const int64_t skip = std::max<int64_t>({0, a.begin - in_a, b.begin - in_b});
    const int64_t stop = std::min({length, a.end - in_a, b.end - in_b});
    if (stop > skip) visit(in_a + skip - a.begin, in_b + skip - b.begin, stop - skip);
  }
}

}  // namespace

std::string Region::to_string() const {
  std::string text = "[";
  for (int axis = 0; axis < shape.rank(); ++axis)
    text += fmt::format("{}{}:{}", axis ? ", " : "", offset[axis], offset[axis] + shape[axis]);
  text += "]";
  if (!is_box()) text += fmt::format(" elements {} to {}", begin, end);
  return text;
}

Region whole_region(const Shape& global) {
  Shape zero = global;
  for (int axis = 0; axis < zero.rank(); ++axis) zero[axis] = 0;
  return box_region(zero, global);
}

Region box_region(const Shape& offset, const Shape& shape) {
  return flat_region(offset, shape, 0, shape.numel());
}

Region flat_region(const Shape& offset, const Shape& shape, int64_t begin, int64_t end) {
  return {offset, shape, begin, end};
}

bool is_inside(const Region& region, const Shape& global) {
  if (region.offset.rank() != global.rank() || region.shape.rank() != global.rank()) return false;
  for (int axis = 0; axis < global.rank(); ++axis)
    if (region.offset[axis] < 0 || region.shape[axis] < 0 ||
        region.offset[axis] > global[axis] - region.shape[axis])
      return false;
  return 0 <= region.begin && region.begin <= region.end && region.end <= region.shape.numel();
}

void for_each_overlap(const Region& a, const Region& b,
                      const std::function<void(int64_t, int64_t, int64_t)>& visit) {
  visit_overlap(a, b, visit);
}

int64_t overlap_numel(const Region& a, const Region& b) {
  if (a.is_box() && b.is_box()) {
    const Runs runs(a, b);
    return runs.count() * runs.length();
  }
  int64_t count = 0;
  visit_overlap(a, b, [&](int64_t, int64_t, int64_t n) { count += n; });
  return count;
}

}  // namespace triax
