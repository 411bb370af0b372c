#include "triax/kernels/checks.h"

#include "triax/base/error.h"

namespace triax {

void require(const Context& context, const Argument& argument, Shape shape, DType dtype) {
  const Tensor& tensor = argument.tensor;
  if (tensor.shape() == shape && tensor.dtype() == dtype && tensor.device() == context.device &&
      (tensor.defined() || shape.numel() == 0)) [[likely]]
    return;
  check(tensor.shape() == shape, "{}: {} must be {}, not {}", argument.operation, argument.name,
        shape.to_string(), tensor.shape().to_string());
  check(tensor.dtype() == dtype, "{}: {} must be {}, not {}", argument.operation, argument.name,
        name_of(dtype), name_of(tensor.dtype()));
  check(tensor.device() == context.device, "{}: {} is not on the device of the context",
        argument.operation, argument.name);
  fail("{}: {} {} has no memory behind it", argument.operation, argument.name, shape.to_string());
}

void require_contiguous(const Argument& argument) {
  check(argument.tensor.is_contiguous(), "{}: {} {} must be contiguous", argument.operation,
        argument.name, argument.tensor.shape().to_string());
}

void require_rows(const Argument& argument) {
  const Tensor& tensor = argument.tensor;
  check(tensor.rank() == 2, "{}: {} must have two axes, not {}", argument.operation, argument.name,
        tensor.rank());
  check((tensor.dim(1) <= 1 || tensor.stride(1) == 1) &&
            (tensor.dim(0) <= 1 || tensor.stride(0) >= tensor.dim(1)),
        "{}: the rows of {} {} must be contiguous and must not overlap (strides {})",
        argument.operation, argument.name, tensor.shape().to_string(),
        Shape{tensor.stride(0), tensor.stride(1)}.to_string());
}

void require_compute_type(const Argument& argument) {
  const DType dtype = argument.tensor.dtype();
  check(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16,
        "{}: {} must be f32, bf16 or f16, not {}", argument.operation, argument.name, name_of(dtype));
}

void fail_no_device(const Context& context, std::string_view operation) {
  fail("{} has no implementation for {} in this build of triax", operation,
       context.device.kind == Device::Kind::cuda ? "CUDA devices" : "this device");
}

}  // namespace triax
