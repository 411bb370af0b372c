#include "triax/tensor/arena.h"

#include "triax/base/error.h"
#include "triax/base/text.h"

namespace triax {

Tensor Arena::allocate(Shape shape, DType dtype) {
  const size_t bytes = static_cast<size_t>(shape.numel()) * size_of(dtype);
  const size_t begin = used_;
  used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  peak_ = std::max(peak_, used_);
  if (measuring()) return {nullptr, shape, dtype, device_};
  check(used_ <= capacity(), "{}: {} more were asked for than the {} that were planned", purpose_,
        format_bytes(static_cast<double>(used_ - capacity())),
        format_bytes(static_cast<double>(capacity())));
  return {static_cast<char*>(buffer_.data()) + begin, shape, dtype, device_};
}

}  // namespace triax
