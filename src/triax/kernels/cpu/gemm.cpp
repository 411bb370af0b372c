#include "triax/kernels/cpu/gemm.h"

#include <omp.h>

#include <cmath>
#include <cstdlib>
#include <dnnl.hpp>
#include <map>
#include <mutex>
#include <set>

#include "triax/base/error.h"
#include "triax/base/log.h"
#include "triax/base/numbers.h"
#include "triax/base/parallel.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/rows.h"

namespace triax::cpu {
namespace {

using dnnl::memory;

// ---- How a product is cut into tiles
// ----------------------------------------------------------------

struct Tiling {
  int64_t rows, cols;  // of a tile; those at the lower and right edge may be smaller
  int64_t down, across;
};

// Each tile packs its own operands, which costs 1 / rows + 1 / cols of its arithmetic: tiles should
// be large and square. But up to 16 threads should have work, 128 x 192 results are still
// multiplied well, and past 384 Ki elements a tile leaves the second-level cache before it is
// finished. Few rows (generation) are bound by reading the weights: 256 KiB of them are worth a
// tile.
Tiling tiling_of(int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kSmallest = 128 * 192, kLargest = 384 * 1024;
  const int64_t area = m * n;
  int64_t tiles = std::max(std::clamp<int64_t>(area / kSmallest, 1, 16), area / kLargest);
  if (m <= 32) tiles = std::max(tiles, std::min<int64_t>(16, k * n / (64 << 10)));
  if (area * k < (1 << 20)) tiles = 1;
  const int64_t row_unit = 16, col_unit = n >= 384 ? 48 : 16;  // of the libraries' inner loops
  Tiling best{m, n, 1, 1};
  double best_cost = INFINITY;
  for (int64_t down = 1; down <= tiles; ++down) {
    const int64_t rows = std::min(m, round_up((m + down - 1) / down, row_unit));
    const int64_t wanted = (tiles + down - 1) / down;
    const int64_t cols = std::min(n, round_up((n + wanted - 1) / wanted, col_unit));
    const Tiling tiling{rows, cols, (m + rows - 1) / rows, (n + cols - 1) / cols};
    const double cost = 1.0 / static_cast<double>(rows) + 1.0 / static_cast<double>(cols);
    if (2 * tiling.down * tiling.across < tiles || cost >= best_cost) continue;
    best = tiling, best_cost = cost;
  }
  return best;
}

// TRIAX_VERBOSE=1: one line for every shape that is multiplied.
void report(const Product& p, int64_t m, int64_t n, int64_t k, const Tiling& tiling,
            const char* implementation) {
  static const bool verbose = [] {
    const char* setting = std::getenv("TRIAX_VERBOSE");
    return setting && *setting && *setting != '0';
  }();
  if (!verbose) return;
  const std::string line =
      fmt::format("gemm {} {}->{} {}{} m={} n={} k={} beta={}: {} tiles of {} x {}", implementation,
                  name_of(p.a.dtype()), name_of(p.c.dtype()), p.transpose_a ? 'T' : 'N',
                  p.transpose_b ? 'T' : 'N', m, n, k, p.beta, tiling.down * tiling.across,
                  tiling.rows, tiling.cols);
  static std::mutex mutex;
  static std::set<std::string> seen;
  const std::lock_guard lock(mutex);
  if (seen.insert(line).second) log_info("{}", line);
}

// ---- One tile
// ---------------------------------------------------------------------------------------

// The rows of a tensor are at least one element apart, also when it has only one.
int64_t row_stride(const Tensor& t) {
  return std::max<int64_t>({t.stride(0), t.dim(1), 1});
}

// A matrix in memory as oneDNN wants to hear of it.
struct Operand {
  const void* data;
  int64_t stride;
  bool transposed;
  DType dtype;

  // The part that begins at (row, col) of the matrix as it is multiplied.
  Operand at(int64_t row, int64_t col) const {
    if (transposed) std::swap(row, col);
    const auto offset = static_cast<int64_t>(size_of(dtype)) * (row * stride + col);
    return {static_cast<const char*>(data) + offset, stride, transposed, dtype};
  }
  memory::desc description(int64_t rows, int64_t cols) const {
    const auto type = dtype == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
    return {memory::dims{rows, cols}, type,
            transposed ? memory::dims{1, stride} : memory::dims{stride, 1}};
  }
};

// oneDNN takes the threads of the caller's OpenMP settings, unless it is within a parallel region.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;

 private:
  int before_;
};

void sgemm(int64_t m, int64_t n, int64_t k, const Operand& a, const Operand& b, float beta,
           const Operand& c) {
  const auto status =
      dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', m, n, k, 1.0f,
                 static_cast<const float*>(a.data), a.stride, static_cast<const float*>(b.data),
                 b.stride, beta, static_cast<float*>(const_cast<void*>(c.data)), c.stride);
  check(status == dnnl_success, "oneDNN refused a matrix product of {} x {} x {} (status {})", m, n,
        k, static_cast<int>(status));
}

// A bf16 product as oneDNN has compiled it. Preparing one takes far longer than finding it again.
struct Prepared {
  dnnl::matmul primitive;
  memory::desc a, b, c, scratch;
};

const dnnl::engine& engine() {
  static const dnnl::engine instance(dnnl::engine::kind::cpu, 0);
  return instance;
}

const Prepared& prepare(int64_t m, int64_t n, int64_t k, const Operand& a, const Operand& b,
                        float beta, const Operand& c) {
  using Key = std::array<int64_t, 9>;
  static thread_local std::map<Key, Prepared> prepared;
  const Key key{m,
                n,
                k,
                a.stride,
                b.stride,
                c.stride,
                a.transposed * 2 + b.transposed,
                static_cast<int64_t>(c.dtype),
                beta != 0};
  if (const auto found = prepared.find(key); found != prepared.end()) return found->second;
  if (prepared.size() >= 1024) prepared.clear();
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (beta != 0) {
    dnnl::post_ops sum;
    sum.append_sum(beta);
    attributes.set_post_ops(sum);
  }
  const dnnl::matmul::primitive_desc description(
      dnnl::matmul::desc(a.description(m, k), b.description(k, n), c.description(m, n)), attributes,
      engine());
  return prepared
      .emplace(key, Prepared{dnnl::matmul(description), description.src_desc(),
                             description.weights_desc(), description.dst_desc(),
                             description.scratchpad_desc()})
      .first->second;
}

// Grows and is kept: what a thread needs once, it needs again.
float* buffer_of(Buffer& buffer, int64_t floats) {
  const auto bytes = static_cast<size_t>(floats) * sizeof(float);
  if (buffer.bytes() < bytes) buffer = Buffer(bytes);
  return static_cast<float*>(buffer.data());
}

// oneDNN has bf16 products for AVX-512 only (in some versions), and none in f16 on a CPU.
bool has_products_of(DType dtype) {
  if (dtype != DType::bf16) return false;
  static const bool answer = [] {
    const auto type = memory::data_type::bf16;
    const memory::desc matrix({16, 16}, type, memory::dims{16, 1});
    return static_cast<bool>(dnnl::matmul::primitive_desc(
        dnnl::matmul::desc(matrix, matrix, matrix), {}, engine(), /*allow_empty=*/true));
  }();
  return answer;
}

void convert_part(const Operand& from, int64_t rows, int64_t cols, float* to) {
  const int64_t lines = from.transposed ? cols : rows, length = from.transposed ? rows : cols;
  const auto convert_lines = [&]<typename T>(const T* data) {
    for (int64_t i = 0; i < lines; ++i) convert_row(data + i * from.stride, length, to + i * length);
  };
  if (from.dtype == DType::bf16) return convert_lines(static_cast<const bf16*>(from.data));
  convert_lines(static_cast<const f16*>(from.data));
}

void store_sums(const float* sums, int64_t rows, int64_t cols, const Operand& to) {
  const auto convert_rows = [&]<typename T>(T* data) {
    for (int64_t i = 0; i < rows; ++i) convert_row(sums + i * cols, cols, data + i * to.stride);
  };
  void* data = const_cast<void*>(to.data);
  if (to.dtype == DType::bf16) return convert_rows(static_cast<bf16*>(data));
  convert_rows(static_cast<f16*>(data));
}

// A product of 16-bit operands through f32, piece by piece of k.
void matmul_in_f32(int64_t m, int64_t n, int64_t k, const Operand& a, const Operand& b, float beta,
                   const Operand& c) {
  constexpr int64_t kPiece = 256;
  static thread_local Buffer a_buffer, b_buffer, c_buffer;
  float* a_part = buffer_of(a_buffer, m * kPiece);
  float* b_part = buffer_of(b_buffer, n * kPiece);
  const bool staged = c.dtype != DType::f32;
  float* sums =
      staged ? buffer_of(c_buffer, m * n) : static_cast<float*>(const_cast<void*>(c.data));
  if (staged && beta != 0) convert_part(c, m, n, sums);
  for (int64_t begin = 0; begin < k; begin += kPiece) {
    const int64_t depth = std::min(kPiece, k - begin);
    convert_part(a.at(0, begin), m, depth, a_part);
    convert_part(b.at(begin, 0), depth, n, b_part);
    sgemm(m, n, depth, {a_part, a.transposed ? m : depth, a.transposed, DType::f32},
          {b_part, b.transposed ? depth : n, b.transposed, DType::f32}, begin > 0 ? 1.0f : beta,
          {sums, staged ? n : c.stride, false, DType::f32});
  }
  if (staged) store_sums(sums, m, n, c);
}

void matmul(int64_t m, int64_t n, int64_t k, const Operand& a, const Operand& b, float beta,
            const Operand& c) {
  if (!has_products_of(a.dtype)) return matmul_in_f32(m, n, k, a, b, beta, c);
  const Prepared& p = prepare(m, n, k, a, b, beta, c);
  static thread_local dnnl::stream stream(engine());
  static thread_local Buffer scratch;
  if (scratch.bytes() < p.scratch.get_size()) scratch = Buffer(p.scratch.get_size());
  const auto memory_of = [](const memory::desc& description, const void* data) {
    return memory(description, engine(), const_cast<void*>(data));
  };
  p.primitive.execute(stream, {{DNNL_ARG_SRC, memory_of(p.a, a.data)},
                               {DNNL_ARG_WEIGHTS, memory_of(p.b, b.data)},
                               {DNNL_ARG_DST, memory_of(p.c, c.data)},
                               {DNNL_ARG_SCRATCHPAD, memory_of(p.scratch, scratch.data())}});
  stream.wait();
}

// k is gone through in pieces of this when a's sums are wanted too: 512 x 384 numbers stay in the
// second-level cache between the sum and the product.
constexpr int64_t kSummedPiece = 512;

// out[0, rows) += the sums over [begin, end) of k of rows of a^T.
void add_sums_over_k(const Operand& a, int64_t row, int64_t rows, int64_t begin, int64_t end,
                     float* out) {
  const Operand part = a.at(row, begin);
  with_compute_type(part.dtype, [&]<typename T>(T) {
    add_columns(static_cast<const T*>(part.data), part.stride, end - begin, rows, out);
  });
}

void run(const Product& p, const FinishTile& finish, float* sums_over_k) {
  const int64_t m = p.c.dim(0), n = p.c.dim(1), k = p.a.dim(p.transpose_a ? 0 : 1);
  if (m == 0 || n == 0) return;
  const Operand a{p.a.raw(), row_stride(p.a), p.transpose_a, p.a.dtype()};
  const Operand b{p.b.raw(), row_stride(p.b), p.transpose_b, p.b.dtype()};
  const Operand c{p.c.raw(), row_stride(p.c), false, p.c.dtype()};
  const bool single = a.dtype == DType::f32, staged = finish && c.dtype != DType::f32;
  const Tiling tiling = tiling_of(m, n, k);
  report(p, m, n, k, tiling, !single && has_products_of(a.dtype) ? "matmul" : "sgemm");
  parallel_pieces(tiling.down * tiling.across, [&](int64_t piece) {
    const OneThread one_thread;
    // Neighbours in time share the part of b that they read: in most layers the larger operand.
    const int64_t row = piece % tiling.down * tiling.rows, col = piece / tiling.down * tiling.cols;
    const int64_t rows = std::min(tiling.rows, m - row), cols = std::min(tiling.cols, n - col);
    static thread_local Buffer stage;
    const Operand to =
        staged ? Operand{buffer_of(stage, tiling.rows * tiling.cols), cols, false, DType::f32}
               : c.at(row, col);
    auto* sums = static_cast<float*>(const_cast<void*>(to.data));
    const int64_t step = sums_over_k && k >= 2 * kSummedPiece ? kSummedPiece : k;
    if (k == 0 && p.beta == 0) {
      cpu::fill(staged ? Tensor(sums, {rows, cols}, DType::f32)
                       : p.c.narrow(0, row, rows).narrow(1, col, cols),
                0);
    }
    for (int64_t begin = 0; begin < k; begin += step) {
      const int64_t depth = std::min(step, k - begin);
      if (sums_over_k && col == 0)
        add_sums_over_k(a, row, rows, begin, begin + depth, sums_over_k + row);
      const auto multiply_tile = single ? sgemm : matmul;
      multiply_tile(rows, cols, depth, a.at(row, begin), b.at(begin, col),
                    begin > 0 ? 1.0f : p.beta, to);
    }
    if (finish) finish({row, col, rows, cols, sums, to.stride});
  });
}

}  // namespace

void multiply(const Product& product, const FinishTile& finish) {
  run(product, finish, nullptr);
}

void multiply_and_sum(const Product& product, const Tensor& column_sums) {
  check(product.transpose_a, "only a transposed operand is summed along with its product");
  run(product, {}, column_sums.data<float>());
}

}  // namespace triax::cpu
