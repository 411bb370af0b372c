#include "triax/finetune/step.h"

#include <cmath>

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"

namespace triax::finetune {
namespace {

std::vector<double> rates_of_units(const Parameters& parameters, const StepSettings& settings) {
  std::vector<double> rates;
  for (const ParameterUnit& unit : parameters.table().units())
    rates.push_back(unit.name == "classifier" ? settings.head_learning_rate : settings.learning_rate);
  return rates;
}

}  // namespace

double tuning_step(Bert& model, Optimizer& optimizer, std::span<const Example> examples, std::span<const size_t> firsts,
                   std::span<const float> weights_of_classes, const StepSettings& settings, const TokenLayout& layout, BatchMemory& memory,
                   Communicator* ranks) {
  const Context context;
  Parameters& parameters = model.parameters();
  fill(context, parameters.flat_gradient(), 0);
  double loss = train_batch(model, examples, firsts, weights_of_classes, settings.micro_batch_tokens, layout, memory, ranks);
  if (ranks) {
    ranks->all_reduce(parameters.flat_gradient());
    ranks->all_reduce({&loss, {1}, DType::f64});
  }
  const GradientSquares squares = gradient_squares(context, parameters, true);
  check(std::isfinite(squares.sum) && std::isfinite(loss), "step {}: the gradient of {} is not finite; a smaller train.learning_rate may help", layout.step,
        squares.not_finite);
  const double norm = std::sqrt(squares.sum);
  const double scale = settings.clip_gradient > 0 && norm > settings.clip_gradient ? settings.clip_gradient / norm : 1.0;
  optimizer.step(context, rates_of_units(parameters, settings), scale);
  return loss;
}

}  // namespace triax::finetune
