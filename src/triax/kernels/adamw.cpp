#include "triax/kernels/adamw.h"

#include "triax/base/error.h"
#include "triax/kernels/checks.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/dispatch.h"

namespace triax {

void adamw_update(const Context& context, const AdamWStep& step, const Tensor& param,
                  const Tensor& grad, const Tensor& m, const Tensor& v, const Tensor& copy) {
  constexpr auto op = "adamw_update";
  const Shape shape{param.numel()};
  require(context, {op, "param", param}, shape, DType::f32);
  require(context, {op, "grad", grad}, shape, DType::f32);
  require(context, {op, "m", m}, shape, DType::f32);
  require(context, {op, "v", v}, shape, DType::f32);
  for (const auto& [name, tensor] :
       {std::pair<const char*, const Tensor&>{"param", param}, {"grad", grad}, {"m", m}, {"v", v}})
    require_contiguous({op, name, tensor});
  if (copy.defined()) {
    check(copy.dtype() == DType::bf16 || copy.dtype() == DType::f16,
          "{}: copy must be bf16 or f16, not {}", op, name_of(copy.dtype()));
    require(context, {op, "copy", copy}, shape, copy.dtype());
    require_contiguous({op, "copy", copy});
  }
  check(step.step >= 1, "{}: steps are counted from 1, not {}", op, step.step);
  dispatch(context, op, cpu::adamw_update, &DeviceOperations::adamw_update, step, param, grad, m, v, copy);
}

}  // namespace triax
