#include "triax/tensor/tensor.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

Shape row_major_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

}  // namespace

Shape::Shape(std::initializer_list<int64_t> extents)
    : Shape(std::span<const int64_t>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  check(rank_ <= kMaxRank, "a tensor of {} axes is more than the {} supported", rank_, kMaxRank);
  std::copy(extents.begin(), extents.end(), extents_.begin());
}

int64_t Shape::numel() const {
  int64_t count = 1;
  for (const int64_t extent : *this) count *= extent;
  return count;
}

bool Shape::operator==(const Shape& other) const {
  return std::equal(begin(), end(), other.begin(), other.end());
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int axis = 0; axis < rank_; ++axis)
    text += (axis ? ", " : "") + std::to_string((*this)[axis]);
  return text + "]";
}

Tensor::Tensor(void* data, Shape shape, DType dtype, Device device)
    : data_(data), shape_(shape), strides_(row_major_strides(shape)), dtype_(dtype), device_(device) {}

bool Tensor::is_contiguous() const {
  const Shape expected = row_major_strides(shape_);
  for (int axis = 0; axis < rank(); ++axis)
    if (shape_[axis] > 1 && strides_[axis] != expected[axis]) return false;
  return true;
}

void Tensor::require_dtype(DType wanted) const {
  check(wanted == dtype_, "a tensor of {} was used as {}", name_of(dtype_), name_of(wanted));
}

Tensor Tensor::reshape(Shape shape) const {
  check(is_contiguous(), "cannot reshape a tensor {} that is not contiguous", shape_.to_string());
  int unknown = -1;
  int64_t known = 1;
  for (int axis = 0; axis < shape.rank(); ++axis)
    if (shape[axis] == -1) {
      unknown = axis;
    } else {
      known *= shape[axis];
    }
  if (unknown >= 0 && known > 0) shape[unknown] = numel() / known;
  check(shape.numel() == numel(), "cannot reshape {} to {}", shape_.to_string(), shape.to_string());
  return {data_, shape, dtype_, device_};
}

Tensor Tensor::narrow(int axis, int64_t start, int64_t length) const {
  check(axis < rank() && start >= 0 && length >= 0 && start + length <= shape_[axis],
        "cannot take [{}, {}) along axis {} of {}", start, start + length, axis, shape_.to_string());
  Tensor part = *this;
  part.shape_[axis] = length;
  part.data_ = static_cast<char*>(data_) + start * strides_[axis] * static_cast<int64_t>(size_of(dtype_));
  return part;
}

Tensor Tensor::operator[](int64_t index) const {
  const Tensor row = narrow(0, index, 1);
  Tensor part = row;
  part.shape_ = Shape(std::span<const int64_t>(row.shape_.begin() + 1, row.shape_.end()));
  part.strides_ = Shape(std::span<const int64_t>(row.strides_.begin() + 1, row.strides_.end()));
  return part;
}

Buffer::Buffer(size_t bytes, Device device, std::string purpose)
    : bytes_(bytes), device_(device), purpose_(std::move(purpose)) {
  if (bytes == 0) return;
  if (!device.on_host()) {
    data_ = allocate_on_device(bytes, device, purpose_);
    return;
  }
  // Fresh anonymous pages are zero and cost nothing until touched, so that what is resident is what
  // is used. Large ones are aligned by the kernel to page borders, which is more than 64 bytes.
  void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(mapped != MAP_FAILED, "out of memory: cannot allocate {}", format_bytes(static_cast<double>(bytes)));
  if (bytes >= (size_t{4} << 20)) ::madvise(mapped, bytes, MADV_HUGEPAGE);
  data_ = mapped;
}

Buffer::~Buffer() {
  if (!data_) return;
  if (device_.on_host()) {
    ::munmap(data_, bytes_);
  } else {
    free_on_device(data_, bytes_, device_, purpose_);
  }
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(device_, other.device_);
  std::swap(purpose_, other.purpose_);
  return *this;
}

OwnedTensor::OwnedTensor(Shape shape, DType dtype, Device device)
    : buffer_(std::max<size_t>(1, static_cast<size_t>(shape.numel()) * size_of(dtype)), device),
      view_(buffer_.data(), shape, dtype, device) {}

}  // namespace triax
