#include "triax/kernel_cases/harness.h"

#include <cmath>
#include <cstring>

#include "triax/base/error.h"
#include "triax/base/parallel.h"
#include "triax/kernels/device_queue.h"
#include "triax/tensor/device.h"

namespace triax::harness {
namespace {

double load(const Tensor& tensor, int64_t offset) {
  switch (tensor.dtype()) {
    case DType::f32:
      return tensor.data<float>()[offset];
    case DType::bf16:
      return static_cast<float>(tensor.data<bf16>()[offset]);
    case DType::f16:
      return static_cast<float>(tensor.data<f16>()[offset]);
    case DType::i32:
      return tensor.data<int32_t>()[offset];
    case DType::u8:
      return tensor.data<uint8_t>()[offset];
    default:
      fail("the harness has no {} operands", name_of(tensor.dtype()));
  }
}

void store(const Tensor& tensor, int64_t offset, double value) {
  const auto rounded = static_cast<float>(value);
  switch (tensor.dtype()) {
    case DType::f32:
      tensor.data<float>()[offset] = rounded;
      break;
    case DType::bf16:
      tensor.data<bf16>()[offset] = bf16(rounded);
      break;
    case DType::f16:
      tensor.data<f16>()[offset] = f16(rounded);
      break;
    case DType::i32:
      tensor.data<int32_t>()[offset] = static_cast<int32_t>(value);
      break;
    case DType::u8:
      tensor.data<uint8_t>()[offset] = std::isnan(value) ? 0x55 : static_cast<uint8_t>(value);
      break;
    default:
      fail("the harness has no {} operands", name_of(tensor.dtype()));
  }
}

// body(element offset, running number) over a tensor of which only the rows may be strided.
template <typename Body>
void for_each(const Tensor& tensor, const Body& body) {
  const int64_t cols = tensor.rank() == 2 ? tensor.dim(1) : tensor.numel();
  const int64_t stride = tensor.rank() == 2 ? tensor.stride(0) : cols;
  for (int64_t i = 0; i < tensor.numel(); ++i) body(i / cols * stride + i % cols, i);
}

double rounding_of(DType dtype) {
  if (dtype == DType::bf16) return 0x1p-8;  // one rounding
  return dtype == DType::f16 ? 0x1p-11 : 0;
}

std::vector<std::vector<char>> snapshot(Problem& problem) {
  std::vector<std::vector<char>> all;
  for (const Operand& operand : problem.operands()) {
    operand.download();
    const auto* bytes = static_cast<const char*>(operand.host_storage().raw());
    all.emplace_back(bytes, bytes + operand.host_storage().bytes());
  }
  return all;
}

void restore(Problem& problem, const std::vector<std::vector<char>>& saved) {
  for (size_t i = 0; i < saved.size(); ++i) {
    const Operand& operand = problem.operands()[i];
    std::memcpy(operand.host_storage().raw(), saved[i].data(), saved[i].size());
    operand.upload();
  }
}

Context& current_target() {
  static Context context;
  return context;
}

std::string compare(const Operand& operand, const Vector& want, const Problem& problem, double* largest_error) {
  double largest = 0, error = 0;
  int64_t worst = 0;
  for_each(operand.on_host, [&](int64_t offset, int64_t i) {
    const double expected = want[static_cast<size_t>(i)], got = load(operand.on_host, offset);
    if (!std::isfinite(expected) && (got == expected || (std::isnan(got) && std::isnan(expected)))) return;
    largest = std::max(largest, std::abs(expected));
    const double difference = std::abs(got - expected);
    // NaN counts as worst, whatever comes after it.
    if (!std::isnan(error) && !(difference <= error)) error = difference, worst = i;
  });
  const double below_normal = operand.tensor.dtype() == DType::f16 ? 0x1p-25 : 0;
  const double rounding = rounding_of(operand.tensor.dtype());
  const double before = target().queue ? problem.roundings * rounding : 0;
  const double allowed = (problem.tolerance + rounding) * largest + before + below_normal;
  if (largest_error && allowed > 0) *largest_error = std::max(*largest_error, error / allowed);
  if (error <= allowed) return {};
  return fmt::format(
      "{}: element {} is off by {:.3g}, {:.3g} are allowed (largest element {:.3g})\n",
      operand.name, worst, error, allowed, largest);
}

// The gap between strided rows belongs to somebody else.
std::string compare_padding(const Operand& operand, const std::vector<char>& before) {
  const Tensor& tensor = operand.on_host;
  if (tensor.is_contiguous()) return {};
  const size_t size = size_of(tensor.dtype());
  const auto* now = static_cast<const char*>(tensor.raw());
  for (int64_t row = 0; row < tensor.dim(0); ++row) {
    const auto begin = static_cast<size_t>(row * tensor.stride(0) + tensor.dim(1)) * size;
    const auto gap = static_cast<size_t>(tensor.stride(0) - tensor.dim(1)) * size;
    if (std::memcmp(now + begin, before.data() + begin, gap) != 0)
      return fmt::format("{}: the memory after row {} was written to\n", operand.name, row);
  }
  return {};
}

}  // namespace

const Context& target() { return current_target(); }
void set_target(const Context& context) { current_target() = context; }
void wait() {
  if (target().queue) target().queue->synchronize();
}
void edit(const Tensor& tensor, const std::function<void(const Tensor&)>& change) {
  wait();
  const HostCopy copy(tensor);
  change(copy.view());
  copy_between_devices(copy.view(), tensor);
}

void Operand::upload() const {
  if (memory.data()) copy_between_devices(host, storage());
}
void Operand::download() const {
  if (memory.data()) copy_between_devices(storage(), host);
}

Operand& Problem::add(std::string name, Role role, Shape shape, DType dtype) {
  const bool strided = shape.rank() == 2 && padding_ > 0;
  OwnedTensor host(strided ? Shape{shape[0], shape[1] + padding_} : shape, dtype);
  const Device device = target().device;
  Buffer memory = device.on_host() ? Buffer() : Buffer(std::max<size_t>(host.view().bytes(), 1), device, "operands of a test");
  const auto part = [&](const Tensor& storage) { return strided ? storage.narrow(1, 0, shape[1]) : storage; };
  const Tensor storage(device.on_host() ? host.view().raw() : memory.data(), host.view().shape(), dtype, device);
  const Tensor on_host = part(host), tensor = part(storage);
  operands_.push_back({std::move(name), role, std::move(host), std::move(memory), on_host, tensor});
  return operands_.back();
}

void Problem::randomise(const Operand& operand, double spread, double offset) {
  // Large operands repeat a stretch of numbers: drawing them all would take longer than the test.
  Vector stretch(std::min<size_t>(10007, static_cast<size_t>(operand.tensor.numel())));
  for (double& x : stretch) x = random_.next_normal() * spread + offset;
  for_each(operand.on_host, [&](int64_t at, int64_t i) {
    store(operand.on_host, at, stretch[static_cast<size_t>(i) % stretch.size()]);
  });
  operand.upload();
}

Tensor Problem::input(std::string name, Shape shape, DType dtype, double spread, double offset) {
  const Operand& operand = add(std::move(name), Role::input, shape, dtype);
  randomise(operand, spread, offset);
  return operand.tensor;
}

Tensor Problem::in_out(std::string name, Shape shape, DType dtype, double spread, double offset) {
  const Operand& operand = add(std::move(name), Role::in_out, shape, dtype);
  randomise(operand, spread, offset);
  return operand.tensor;
}

Tensor Problem::output(std::string name, Shape shape, DType dtype) {
  const Operand& operand = add(std::move(name), Role::output, shape, dtype);
  for_each(operand.on_host, [&](int64_t at, int64_t) { store(operand.on_host, at, NAN); });
  operand.upload();
  return operand.tensor;
}

Tensor Problem::integers(std::string name, int64_t count, int64_t low, int64_t high) {
  const Operand& operand = add(std::move(name), Role::input, {count}, DType::i32);
  for (int32_t& x : operand.on_host.span<int32_t>())
    x = static_cast<int32_t>(
        low + static_cast<int64_t>(random_.next_below(static_cast<uint64_t>(high - low))));
  operand.upload();
  return operand.tensor;
}

Values Problem::values() const {
  Values all;
  for (const Operand& operand : operands_) {
    Vector& values = all[operand.name];
    operand.download();
    values.resize(static_cast<size_t>(operand.tensor.numel()));
    for_each(operand.on_host, [&](int64_t at, int64_t i) {
      values[static_cast<size_t>(i)] = load(operand.on_host, at);
    });
  }
  return all;
}

double Problem::default_traffic() const {
  double sum = 0;
  for (const Operand& operand : operands_)
    sum += static_cast<double>(operand.tensor.bytes()) * (operand.role == Role::input ? 1 : 2);
  return sum;
}

std::string verify(const Case& entry, double* largest_error) {
  const std::unique_ptr<Problem> problem = entry.build();
  Values want = problem->values();
  problem->reference(want);
  const auto before = snapshot(*problem);
  std::vector<std::vector<char>> first;
  std::string report;
  const int threads_before = num_threads();
  for (const int threads : {1, 2, 3}) {
    if (target().queue && threads == 3) break;
    set_num_threads(threads);
    restore(*problem, before);
    problem->run(target());
    wait();
    const auto after = snapshot(*problem);
    if (threads == 1) first = after;
    for (size_t i = 0; i < problem->operands().size(); ++i) {
      const Operand& operand = problem->operands()[i];
      const auto& base = threads == 1 && operand.role == Role::input ? before[i] : first[i];
      if (after[i] != base)
        report += threads == 1 ? fmt::format("{}: an input was written to\n", operand.name)
                               : fmt::format("{}: {} threads give other bits than one\n",
                                             operand.name, threads);
      if (threads > 1) continue;
      report += compare(operand, want[operand.name], *problem, largest_error);
      report += compare_padding(operand, before[i]);
    }
  }
  set_num_threads(threads_before);
  return report;
}

Vector random_vector(size_t count, uint64_t seed) {
  Philox random(seed);
  Vector values(count);
  for (double& x : values) x = random.next_normal();
  return values;
}

double gradient_error(const Gradient& gradient, uint64_t seed) {
  const auto dot = [](const Vector& a, const Vector& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
  };
  constexpr double kStep = 1e-5;
  const Vector dout = random_vector(gradient.forward(gradient.inputs).size(), seed);
  const std::vector<Vector> exact = gradient.backward(gradient.inputs, dout);
  double worst = 0;
  for (size_t i = 0; i < gradient.inputs.size(); ++i)
    for (uint64_t trial = 0; trial < 4; ++trial) {
      const Vector direction = random_vector(gradient.inputs[i].size(), seed + 1 + trial);
      const auto loss_at = [&](double step) {
        auto moved = gradient.inputs;
        for (size_t j = 0; j < direction.size(); ++j) moved[i][j] += step * direction[j];
        return dot(gradient.forward(moved), dout);
      };
      const double numeric = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
      const double norm = std::sqrt(dot(exact[i], exact[i]) * dot(direction, direction));
      worst = std::max(worst, std::abs(numeric - dot(exact[i], direction)) / std::max(norm, 1e-12));
    }
  return worst;
}

Table all_cases() {
  Table table;
  add_adamw_cases(table);
  add_attention_cases(table);
  add_cross_entropy_cases(table);
  add_elementwise_cases(table);
  add_embedding_cases(table);
  add_float8_cases(table);
  add_layernorm_cases(table);
  add_linear_cases(table);
  return table;
}

}  // namespace triax::harness
