#include "triax/kernels/adamw.h"

#include "triax/base/error.h"
#include "triax/kernels/checks.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/dispatch.h"

namespace triax {

void adamw_update(const Context& context, const AdamWStep& step, std::span<const AdamWRange> ranges) {
  constexpr auto op = "adamw_update";
  check(step.step >= 1, "{}: steps are counted from 1, not {}", op, step.step);
  for (const AdamWRange& range : ranges) {
    const Shape shape{range.param.numel()};
    for (const Argument& argument : {Argument{op, "param", range.param}, {op, "grad", range.grad}, {op, "m", range.m}, {op, "v", range.v}}) {
      if (!range.grad.defined() && argument.name != "param" && shape.numel() > 0) continue;
      require(context, argument, shape, DType::f32);
      require_contiguous(argument);
    }
    if (!range.copy.defined()) continue;
    require_compute_type({op, "copy", range.copy});
    require(context, {op, "copy", range.copy}, shape, range.copy.dtype());
    require_contiguous({op, "copy", range.copy});
    check(!step.stochastic_rounding || range.place.width == 0 || range.copy.dtype() == DType::bf16,
          "{}: only bf16 is rounded stochastically, not {}", op, name_of(range.copy.dtype()));
  }
  dispatch(context, op, cpu::adamw_update, &DeviceOperations::adamw_update, step, ranges);
}

}  // namespace triax
