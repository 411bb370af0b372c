// Parameters: what a model declares, and the flat memory they live in.
//
// A model lists its parameters once (name, global shape, which box of it this rank holds, how it
// starts), unit by unit: the token table, each layer, the final norm. A unit is what is used together,
// so it is also what data-parallel ranks exchange at a time. From the list follow one flat layout for
// weights, gradients and optimizer state, the same element at the same offset in all of them; initial
// values that do not depend on how the model is split; and the pieces a checkpoint is made of.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "triax/kernels/context.h"
#include "triax/tensor/arena.h"
#include "triax/tensor/tensor.h"

namespace triax {

enum class Init { zeros, ones, normal };

struct ParameterSpec {
  std::string name;
  Shape global_shape;  // without padding: rows of the box beyond it are padding
  Shape shape;   // of the box this rank holds
  Shape offset;  // of that box in the global tensor
  Init init = Init::zeros;
  float init_std = 0;   // of Init::normal
  bool matrix = false;  // weight decay, and read in the compute type; else no decay, and read in f32
  bool split = false;   // over the tensor-parallel ranks; else each of them holds it whole
  bool tied_copy = false;  // another pipeline stage has it too, and counts and saves it
  int unit = 0;         // set by ParameterTable::add
  int64_t begin = 0;    // first element in the flat layout; set by ParameterTable::lay_out

  int64_t numel() const { return shape.numel(); }
  // Whole, as a model without tensor parallelism has them: normal(0, std) and decayed; `init` and not decayed.
  static ParameterSpec make_matrix(std::string name, int64_t rows, int64_t columns, float std);
  static ParameterSpec make_vector(std::string name, int64_t size, Init init = Init::zeros);
};

// A stretch of the flat layout in one element type, a whole number of cache lines for every shard.
struct Segment {
  int64_t begin = 0, size = 0;
  bool matrices = false;
};

struct ParameterUnit {
  std::string name;
  bool is_layer = false;  // one of many alike, used one after the other
  bool sees_all_tokens = false;  // also with sequence parallelism: every rank has the gradients of all of them
  int64_t begin = 0, size = 0;
  std::array<Segment, 2> segments;      // matrices, then the rest
  int64_t replicated_begin = 0, replicated_end = 0;  // what every tensor-parallel rank holds whole
};

// Bytes of a unit's weights as kernels read them.
size_t weight_bytes(const ParameterUnit& unit, DType compute_type);

// The parameters of one rank. Within a unit: split matrices, whole matrices, whole vectors, split
// vectors, each starting at a multiple of 64 bytes.
class ParameterTable {
 public:
  int begin_unit(std::string name, bool is_layer = false);  // add() adds to this one; returns its number
  void sees_all_tokens() { units_.back().sees_all_tokens = true; }  // of the unit begun last
  int add(ParameterSpec spec);       // returns the index of the new parameter
  // Fixes the flat layout; every segment can be cut into `shards` equal parts.
  void lay_out(int shards);

  const std::vector<ParameterSpec>& specs() const { return specs_; }
  const std::vector<ParameterUnit>& units() const { return units_; }
  const ParameterSpec& operator[](int index) const { return specs_[static_cast<size_t>(index)]; }
  // Elements of a flat buffer, gaps included.
  int64_t flat_size() const { return flat_size_; }
  // Elements held by this rank, gaps not counted.
  int64_t num_parameters() const;

 private:
  std::vector<ParameterSpec> specs_;
  std::vector<ParameterUnit> units_;
  int64_t flat_size_ = 0;
};

// How the data-parallel ranks share what would be the same on all of them (ZeRO, Rajbhandari et al.
// 2019): stage 1 the optimizer state (with the f32 masters of other compute types), 2 the gradients too,
// 3 the weights too.
struct Sharding {
  int stage = 0, rank = 0, size = 1;

  bool state() const { return stage >= 1 && size > 1; }
  bool gradients() const { return stage >= 2 && size > 1; }
  bool weights() const { return stage >= 3 && size > 1; }
};

// A stretch of the flat layout that this rank updates, inside one segment; and where its elements are in
// buffers that hold only what is owned.
struct OwnedRange {
  int unit = 0;
  bool matrices = false;
  int64_t begin = 0, size = 0;
  int64_t at = 0;
};

// The numbers themselves. Masters and gradients are f32. Kernels read matrices in the compute type and
// the rest in f32: the master itself where the compute type is f32.
class Parameters {
 public:
  // Lays the table out for the sharding.
  Parameters(ParameterTable table, DType compute_type, bool with_gradients, Sharding sharding = {},
             Device device = {});

  const ParameterTable& table() const { return table_; }
  DType compute_type() const { return compute_type_; }
  Device device() const { return device_; }
  bool with_gradients() const { return with_gradients_; }
  const Sharding& sharding() const { return sharding_; }

  // What kernels read and add to. With sharded weights (gradients), only while the unit is resident.
  Tensor weight(int index) const;
  Tensor gradient(int index) const;

  // ---- what this rank owns: everything, or its shard

  const std::vector<OwnedRange>& owned() const { return owned_; }
  Tensor master(const OwnedRange& range) const;
  Tensor gradient(const OwnedRange& range) const { return gradient_at(range.begin, range.size); }
  // The weights that kernels read, to be refreshed from the master; undefined where that is the master.
  Tensor copy(const OwnedRange& range) const;
  // Elements [begin, begin + size) of the flat layout, which must be owned.
  Tensor master_at(int64_t begin, int64_t size) const;
  Tensor gradient_at(int64_t begin, int64_t size) const;
  // Elements in buffers that hold what is owned.
  int64_t owned_size() const { return owned_size_; }
  // Where element `begin` of the flat layout is in such a buffer.
  int64_t owned_offset(int64_t begin) const;

  // ---- whole parameters, where they are not sharded

  Tensor master(int index) const;

  // Fills what is owned from `seed`: each element is a function of the seed, the parameter's name and
  // its position in the global tensor.
  void initialize(const Context& context, uint64_t seed);
  // Copies the masters that are owned into the weights that kernels read.
  void refresh_copies(const Context& context);

  // ---- for those who move units between ranks (optim/data_parallel.h)

  // This rank's part of a segment.
  Segment shard(const Segment& segment) const;
  // A segment's weights, as kernels read them, in the memory where the unit is resident.
  Tensor weights(int unit, const Segment& segment) const;
  // The part of `segment` that this rank owns, for gathering it.
  Tensor owned_weights(const Segment& segment) const;
  // All of a unit's gradients in the memory where the unit is resident.
  Tensor unit_gradients(int unit) const;
  Tensor flat_gradient() const;    // all of what is kept: whole, or the owned part
  void place_weights(int unit, void* memory) { weights_of_unit_[static_cast<size_t>(unit)] = static_cast<std::byte*>(memory); }
  void place_gradients(int unit, void* memory) { gradients_of_unit_[static_cast<size_t>(unit)] = static_cast<float*>(memory); }

  // Rows for the memory table.
  std::vector<MemoryUse> memory() const { return memory(table_, compute_type_, with_gradients_, sharding_); }
  // The same without allocating anything; the table is laid out.
  static std::vector<MemoryUse> memory(const ParameterTable& table, DType compute_type, bool with_gradients,
                                       const Sharding& sharding);

 private:
  DType type_of(bool matrices) const { return matrices ? compute_type_ : DType::f32; }
  bool separate_master() const { return compute_type_ != DType::f32; }

  ParameterTable table_;
  DType compute_type_;
  bool with_gradients_;
  Sharding sharding_;
  Device device_;
  std::vector<OwnedRange> owned_;
  int64_t owned_size_ = 0;
  Buffer master_;    // f32, owned; none when the weights are the master
  Buffer weights_;   // whole, or the owned part of sharded weights
  Buffer gradient_;  // f32, whole or the owned part
  std::vector<std::byte*> weights_of_unit_;
  std::vector<float*> gradients_of_unit_;
};

// Told when a unit's weights and gradients are used, so that they can be brought, exchanged and dropped.
class UnitUse {
 public:
  virtual ~UnitUse() = default;
  // The unit's weights are read from now on; `next` (or -1) is the unit that will be asked for next.
  virtual void weights_needed(int unit, int next) = 0;
  // The unit's gradients are added to from now on, until gradients_added().
  virtual void gradients_needed(int unit) = 0;
  virtual void gradients_added(int unit) = 0;
};

}  // namespace triax
