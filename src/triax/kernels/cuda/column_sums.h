// Sums over the rows of a matrix: a block has 256 columns of a chunk of rows, its eight warps every eighth row; then the
// chunks are added in order.
#pragma once

#include "triax/kernels/cuda/device_code.h"

namespace triax::TRIAX_GPU {

constexpr int64_t kMaxChunks = 128;

template <typename Body>
__global__ void __launch_bounds__(kThreads) column_chunks(Body body, Area area, int64_t chunk_rows, float* partial) {
  constexpr int kSums = Body::kSums;
  __shared__ float parts[kRowsOfBlock][kSums][kColumnsOfBlock];
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int64_t first = int64_t{blockIdx.x} * kColumnsOfBlock, col = first + lane * kPack;
  const int64_t begin = int64_t{blockIdx.y} * chunk_rows;
  const int64_t end = begin + chunk_rows < area.rows ? begin + chunk_rows : area.rows;
  float sums[kSums][kPack] = {};
  const bool vector = area.vector && col + kPack <= area.cols;
  for (int64_t row = begin + warp; row < end; row += kRowsOfBlock) {
    const uint32_t kept = body.prepare(row, first, lane);
    if (vector) {
      body.template add<kPack>(row, col, kept, sums, 0);
    } else {
      for (int i = 0; i < kPack && col + i < area.cols; ++i) body.template add<1>(row, col + i, kept, sums, i);
    }
  }
  for (int s = 0; s < kSums; ++s)
    for (int i = 0; i < kPack; ++i) parts[warp][s][lane * kPack + i] = sums[s][i];
  __syncthreads();
  const int64_t mine = first + threadIdx.x;
  if (mine >= area.cols) return;
  for (int s = 0; s < kSums; ++s) {
    float sum = 0;
    for (int w = 0; w < kRowsOfBlock; ++w) sum += parts[w][s][threadIdx.x];
    partial[(int64_t{blockIdx.y} * kSums + s) * area.cols + mine] = sum;
  }
}

// partial [chunks, kSums, cols] is added to the sums: a block has 32 columns, its eight warps every eighth chunk.
template <int kSums>
__global__ void __launch_bounds__(kThreads) add_chunks(const float* partial, int64_t chunks, int64_t cols, float* first,
                                                       float* second) {
  __shared__ float parts[kRowsOfBlock][kWarp];
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int64_t col = int64_t{blockIdx.x} * kWarp + lane, s = blockIdx.y;
  float sum = 0;
  if (col < cols)
    for (int64_t chunk = warp; chunk < chunks; chunk += kRowsOfBlock) sum += partial[(chunk * kSums + s) * cols + col];
  parts[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || col >= cols) return;
  for (int w = 1; w < kRowsOfBlock; ++w) sum += parts[w][lane];
  (s == 0 ? first : second)[col] += sum;
}

template <int kSums>
void sum_chunks(void* stream, const float* partial, int64_t chunks, int64_t cols, float* first, float* second) {
  launch(add_chunks<kSums>, {ceil_div(cols, kWarp), kSums}, kThreads, 0, stream, partial, chunks, cols, first, second);
}

// Chunks of rows_of_chunk rows, or of more where there would be too many chunks.
struct Chunks {
  int64_t count, rows;
  Chunks(const Area& area, int64_t rows_of_chunk, int64_t most_chunks) {
    count = (area.rows + rows_of_chunk - 1) / rows_of_chunk;
    if (count > most_chunks) count = most_chunks;
    rows = (area.rows + count - 1) / count;
    count = (area.rows + rows - 1) / rows;
  }
};

template <typename Body>
void sum_columns(void* stream, const Scratch& scratch, const Area& area, const Body& body, float* first, float* second) {
  const int64_t fitting = static_cast<int64_t>(scratch.bytes / sizeof(float)) / (Body::kSums * area.cols);
  const Chunks chunks(area, 32, fitting < kMaxChunks ? fitting : kMaxChunks);
  auto* partial = static_cast<float*>(scratch.data);
  launch(column_chunks<Body>, {ceil_div(area.cols, kColumnsOfBlock), static_cast<uint32_t>(chunks.count)}, kThreads, 0,
         stream, body, area, chunks.rows, partial);
  sum_chunks<Body::kSums>(stream, partial, chunks.count, area.cols, first, second);
}

}  // namespace triax::TRIAX_GPU
