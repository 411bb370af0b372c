// The op harness: one table of cases for every operation under kernels/, from which come
//   - the test against a plain reference in double precision, on odd shapes, strided rows, all
//     compute types, in place where the header allows it, with the same bits on 1, 2 and 3 threads;
//   - `triax bench kernels` (timing.h), on training shapes.
//
// To add an operation: write `void add_<op>_cases(Table&)` in <op>.cpp and call it in all_cases().
#pragma once

#include <fmt/core.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "triax/base/rng.h"
#include "triax/kernels/context.h"

namespace triax::harness {

using Vector = std::vector<double>;
// The operands' elements by name, row-major without padding: what a reference reads and writes.
using Values = std::map<std::string, Vector>;

enum class Role { input, output, in_out };

// Where problems are built and run: the CPU, unless somebody chose otherwise. What it computes is there after wait().
const Context& target();
void set_target(const Context& context);
void wait();
// change(what `tensor` of the target holds, as a tensor of the host); tensor is contiguous.
void edit(const Tensor& tensor, const std::function<void(const Tensor&)>& change);

struct Operand {
  std::string name;
  Role role;
  OwnedTensor host;  // with the padding between rows
  Buffer memory;     // of the target, where the host does not reach it
  Tensor on_host, tensor;

  const Tensor& host_storage() const { return host.view(); }
  void upload() const;
  void download() const;

 private:
  Tensor storage() const { return {memory.data(), host.view().shape(), host.view().dtype(), memory.device()}; }
};

// One call of one operation on random operands.
class Problem {
 public:
  explicit Problem(uint64_t seed, int64_t row_padding = 0) : random_(seed), padding_(row_padding) {}

  // Operands of standard normal numbers (times `spread`, plus `offset`). Those of rank 2 get rows
  // that have `row_padding` elements between them.
  Tensor input(std::string name, Shape shape, DType dtype, double spread = 1, double offset = 0);
  Tensor in_out(std::string name, Shape shape, DType dtype, double spread = 1, double offset = 0);
  // Filled with NaN before the run: the operation must write all of it.
  Tensor output(std::string name, Shape shape, DType dtype);
  // i32 [count], uniform in [low, high).
  Tensor integers(std::string name, int64_t count, int64_t low, int64_t high);

  std::function<void(const Context&)> run;
  // From the operands' values before the run to those after it.
  std::function<void(Values&)> reference;
  // Largest error allowed, divided by the largest magnitude of the operand: for f32 operands; bf16
  // and f16 ones may besides be off by their rounding.
  double tolerance = 2e-6;
  // Besides, of 16-bit operands on other devices than the CPU, where a product may be rounded before what follows it: so
  // many roundings of a number of size 1.
  double roundings = 0;
  // The floors of the time: arithmetic, and memory traffic. Traffic left at 0 is what the operands
  // make of it: input 1, output 2 (a written line is first read), in_out 2 times their size.
  double flops = 0;
  double traffic = 0;

  std::vector<Operand>& operands() { return operands_; }
  Values values() const;
  double default_traffic() const;

 private:
  Operand& add(std::string name, Role role, Shape shape, DType dtype);
  void randomise(const Operand& operand, double spread, double offset);
  Philox random_;
  int64_t padding_;
  std::vector<Operand> operands_;
};

inline constexpr DType kComputeTypes[] = {DType::f32, DType::bf16, DType::f16};

enum class Purpose { test, benchmark, gpu_benchmark };

struct Case {
  std::string operation, variant;
  Purpose purpose = Purpose::test;
  std::function<std::unique_ptr<Problem>()> build;
};
using Table = std::vector<Case>;

void add_adamw_cases(Table& table);
void add_attention_cases(Table& table);
void add_cross_entropy_cases(Table& table);
void add_elementwise_cases(Table& table);
void add_embedding_cases(Table& table);
void add_float8_cases(Table& table);
void add_layernorm_cases(Table& table);
void add_linear_cases(Table& table);
Table all_cases();

// Runs a case on 1, 2 and 3 threads (on another device than the CPU: twice). Empty when everything is right, else what is
// wrong. `largest_error`, if given, becomes the largest error as a share of what is allowed.
std::string verify(const Case& entry, double* largest_error = nullptr);

// A differentiable function for the finite-difference check of a reference: `backward` gives the
// gradient of sum(dout * forward(inputs)) for each input.
struct Gradient {
  std::vector<Vector> inputs;
  std::function<Vector(const std::vector<Vector>&)> forward;
  std::function<std::vector<Vector>(const std::vector<Vector>&, const Vector& dout)> backward;
};
// Largest relative error of directional derivatives along random directions, per input.
double gradient_error(const Gradient& gradient, uint64_t seed);

Vector random_vector(size_t count, uint64_t seed);

}  // namespace triax::harness
