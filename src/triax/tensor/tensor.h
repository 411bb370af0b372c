// Tensor: a view of numbers in memory (pointer, shape, strides, element type, device). It is cheap to
// copy and owns nothing; Buffer owns, Arena hands out views of a buffer.
//
// Shapes in comments use the letters b (micro-batch), s (sequence), h (hidden), a (heads),
// d (head dimension), v (vocabulary), n = b * s (tokens). Activations are [n, h]: the tokens of
// the micro-batch one after the other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>

#include "triax/tensor/dtype.h"

namespace triax {

struct Device {
  // emulated: for tests, a device whose memory is the host's and whose operations are given with its queue.
  enum class Kind : uint8_t { cpu, cuda, emulated };
  Kind kind = Kind::cpu;
  int index = 0;
  bool on_host() const { return kind != Kind::cuda; }  // does the host reach its memory?
  bool operator==(const Device&) const = default;
};

// Up to six extents; small enough to pass by value.
class Shape {
 public:
  static constexpr int kMaxRank = 6;
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents);
  explicit Shape(std::span<const int64_t> extents);

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return extents_[static_cast<size_t>(axis < 0 ? axis + rank_ : axis)]; }
  int64_t& operator[](int axis) { return extents_[static_cast<size_t>(axis < 0 ? axis + rank_ : axis)]; }
  int64_t numel() const;
  const int64_t* begin() const { return extents_.data(); }
  const int64_t* end() const { return extents_.data() + rank_; }
  bool operator==(const Shape& other) const;
  std::string to_string() const;  // "[2, 3]"

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

class Tensor {
 public:
  Tensor() = default;
  // A contiguous row-major view of `data`.
  Tensor(void* data, Shape shape, DType dtype, Device device = {});

  bool defined() const { return data_ != nullptr; }
  void* raw() const { return data_; }
  // The elements as T; throws Error if T is not the element type.
  template <typename T>
  T* data() const {
    require_dtype(dtype_of<T>);
    return static_cast<T*>(data_);
  }
  template <typename T>
  std::span<T> span() const {
    return {data<T>(), static_cast<size_t>(numel())};
  }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t stride(int axis) const { return strides_[axis]; }  // in elements
  int64_t numel() const { return shape_.numel(); }
  size_t bytes() const { return static_cast<size_t>(numel()) * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  bool is_contiguous() const;

  // Same elements, other shape; the tensor must be contiguous. One extent may be -1.
  Tensor reshape(Shape shape) const;
  // Elements [start, start + length) along an axis.
  Tensor narrow(int axis, int64_t start, int64_t length) const;
  // Sub-tensor at one index of axis 0.
  Tensor operator[](int64_t index) const;

 private:
  void require_dtype(DType wanted) const;
  void* data_ = nullptr;
  Shape shape_, strides_;
  DType dtype_ = DType::f32;
  Device device_;
};

// Owned memory, aligned to 64 bytes (2 MiB pages are asked for when large), zero-filled. On a GPU it is booked under its
// purpose (tensor/device.h).
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes, Device device = {}, std::string purpose = "other");
  ~Buffer();
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  Device device_;
  std::string purpose_;
};

// A tensor that owns its memory, for tests and small things.
class OwnedTensor {
 public:
  OwnedTensor() = default;
  OwnedTensor(Shape shape, DType dtype, Device device = {});
  const Tensor& view() const { return view_; }
  operator const Tensor&() const { return view_; }  // NOLINT: a tensor is what it is used as
  template <typename T>
  std::span<T> span() const { return view_.span<T>(); }

 private:
  Buffer buffer_;
  Tensor view_;
};

}  // namespace triax
