// Matrix products on the CPU, in tiles that depend only on the shape.
//
// oneDNN multiplies each tile on one thread, and the threads take tiles as they come. So the bits
// of a product do not depend on the number of threads, no thread waits for another, and what
// follows the product (bias, activation, a change of type) is done while the tile is still in the
// core's cache.
#pragma once

#include <functional>

#include "triax/tensor/tensor.h"

namespace triax::cpu {

// c [m, n] = a [m, k] b [k, n] + beta c, either operand given transposed; operands as in gemm().
struct Product {
  bool transpose_a = false, transpose_b = false;
  const Tensor& a;
  const Tensor& b;
  const Tensor& c;
  float beta = 0;
};

// Part of the result: rows [row, row + rows) and columns [col, col + cols) of c. `sums` holds its
// elements in f32, rows `stride` apart; for an f32 result that is c itself.
struct Tile {
  int64_t row, col, rows, cols;
  float* sums;
  int64_t stride;
};

// Without `finish`, c gets the product. With it, a c of f32 does, and then finish(tile) sees each
// tile; of a 16-bit c nothing is written: that is up to finish, which gets the sums unrounded (beta
// must be 0).
using FinishTile = std::function<void(const Tile&)>;
void multiply(const Product& product, const FinishTile& finish = {});

// As multiply(), and column_sums [m] (f32) += the sums over k of a, which must be given transposed:
// each part of a is summed just before it is multiplied.
void multiply_and_sum(const Product& product, const Tensor& column_sums);

}  // namespace triax::cpu
