// Region: which elements of a global tensor a piece of memory holds.
//
// A rank's share of a tensor is a box of it (tensor parallelism cuts along axes), and an optimizer that is
// sharded over the data-parallel ranks holds a contiguous range of that box's elements. A region is both:
// a box of the global tensor, and the range [begin, end) of the box's elements in row-major order. The
// elements of a region lie one after the other in memory.
//
//   whole_region({6, 4})                          all 24 elements
//   box_region({0, 2}, {6, 2})                    columns 2 and 3: 12 elements
//   flat_region({0, 2}, {6, 2}, 4, 8)             the second third of these 12: rows 2 and 3
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "triax/tensor/tensor.h"

namespace triax {

struct Region {
  Shape offset;                // the box's first element in the global tensor
  Shape shape;                 // the box's extents
  int64_t begin = 0, end = 0;  // of the box's row-major order

  int64_t numel() const { return end - begin; }
  bool is_box() const { return begin == 0 && end == shape.numel(); }
  bool operator==(const Region&) const = default;
  // "[0:6, 2:4]", and with a range "[0:6, 2:4] elements 4 to 8"
  std::string to_string() const;
};

Region whole_region(const Shape& global);
Region box_region(const Shape& offset, const Shape& shape);
Region flat_region(const Shape& offset, const Shape& shape, int64_t begin, int64_t end);

// Whether the region is well formed and inside a tensor of this shape.
bool is_inside(const Region& region, const Shape& global);

// Calls visit(a_first, b_first, count) for every longest run of elements that are neighbours in both
// regions, in row-major order; the firsts count elements from the start of each region's memory. Takes time
// in proportion to the number of runs that are visited, not to the sizes of the boxes.
void for_each_overlap(const Region& a, const Region& b,
                      const std::function<void(int64_t a_first, int64_t b_first, int64_t count)>& visit);

// How many elements are in both.
int64_t overlap_numel(const Region& a, const Region& b);

}  // namespace triax
