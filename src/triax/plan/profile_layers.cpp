// Times of a model's own layers on this machine.
#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/rng.h"
#include "triax/comm/absent_group.h"
#include "triax/kernels/elementwise.h"
#include "triax/models/stage_model.h"
#include "triax/optim/optimizer.h"
#include "triax/plan/calibrate.h"
#include "triax/plan/timing_rounds.h"

namespace triax {
namespace {

// A part of the model as one rank of a tensor group of `t` has it, and what it takes to run it.
class TimedPart {
 public:
  TimedPart(const RunConfig& run, const ModelPart& part, int t)
      : group_(0, t),
        shape_{run.model, part, {.group = &group_, .sequence_parallel = false}, run.train.recompute, run.engine().compute_type(),
               run.train.micro_batch_size},
        n_(run.train.micro_batch_size * run.train.sequence_length), owner_(make_stage_model(shape_, true)), model_(*owner_),
        optimizer_(model_.parameters(), {}), arena_("calibration", bytes()) {
    stash_ = model_.allocate_stash(n_, arena_);
    if (recomputes()) kept_ = StageModel::allocate_stash(keeping(), n_, arena_);
    workspace_ = model_.allocate_workspace(n_, true, arena_);
    deferred_ = StageModel::allocate_deferred(shape_, n_, arena_);
    for (Tensor* tensor : {&input_, &output_, &gradient_, &source_}) *tensor = arena_.allocate({n_, run.model.hidden_size}, shape_.compute_type);
    model_.parameters().initialize(context_, 1);
    model_.parameters().refresh_copies(context_);
    fill(context_, model_.parameters().flat_gradient(), 0.0f);
    fill_randomly(input_, 1, 1.0f), fill_randomly(source_, 2, 1e-4f);
    make_batch(run);
  }

  bool has_layers() const { return shape_.part.num_layers > 0; }
  bool recomputes() const { return shape_.recompute != Recompute::none && has_layers(); }
  int64_t num_parameters() const { return model_.parameters().table().num_parameters(); }

  void forward() { forward(stash_); }
  // Before each backward, which leaves the gradient of the input where that of the output was.
  void new_gradient() { convert(context_, source_, gradient_); }
  void backward(bool defers = false) { backward(stash_, defers ? &deferred_ : nullptr); }
  void backward_weight() { model_.backward_weight(context_, stash_, workspace_, deferred_); }
  // The same of a micro-batch that keeps everything.
  void forward_kept() { forward(kept_); }
  void backward_kept() { backward(kept_, nullptr); }

  void update_weights() {
    gradient_squares(context_, model_.parameters(), true);
    optimizer_.step(context_, 1e-9, 1.0);
    fill(context_, model_.parameters().flat_gradient(), 0.0f);
  }
  // Activations of one micro-batch, for an exchange.
  const Tensor& activations() const { return output_; }

 private:
  StageShape keeping() const {
    StageShape shape = shape_;
    shape.recompute = Recompute::none;
    return shape;
  }

  void forward(StageStash& stash) {
    const ModelPart& part = shape_.part;
    if (!part.has_embedding) convert(context_, input_, stash.inputs[0]);
    model_.forward(context_, batch_, part.has_embedding ? Tensor{} : stash.inputs[0], part.has_head ? Tensor{} : output_, 1.0f, true, stash,
                   workspace_);
  }
  void backward(StageStash& stash, StageDeferred* deferred) {
    model_.backward(context_, batch_, shape_.part.has_head ? stash.gradient : gradient_, stash, workspace_, deferred);
  }

  void fill_randomly(const Tensor& x, uint64_t stream, float scale) {
    std::vector<float> values(static_cast<size_t>(x.numel()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = scale * philox_normal(1, stream, i);
    convert(context_, {values.data(), {x.dim(0), x.dim(1)}, DType::f32}, x);
  }

  void make_batch(const RunConfig& run) {
    const int64_t s = run.train.sequence_length, b = run.train.micro_batch_size;
    tokens_.resize(static_cast<size_t>(n_)), positions_.resize(static_cast<size_t>(n_)), types_.resize(static_cast<size_t>(n_));
    order_.resize(static_cast<size_t>(b)), order_weights_.resize(static_cast<size_t>(b), 1.0f);
    weights_.resize(static_cast<size_t>(n_), 1.0f / static_cast<float>(n_));
    for (int64_t i = 0; i < n_; ++i) {
      // Of a BERT, about the published share is masked.
      if (run.model.is_bert() && static_cast<double>(i % 20) >= 20 * kMaskedShare) weights_[static_cast<size_t>(i)] = 0;
      tokens_[static_cast<size_t>(i)] = static_cast<int32_t>(i * 7919 % run.model.vocab_size);
      positions_[static_cast<size_t>(i)] = static_cast<int32_t>(i % s);
    }
    for (int64_t i = 0; i < b; ++i) spans_.push_back({i * s, s});
    batch_.tokens = batch_.targets = {tokens_.data(), {n_}, DType::i32};
    batch_.positions = {positions_.data(), {n_}, DType::i32};
    batch_.types = {types_.data(), {n_}, DType::i32};
    batch_.order = {order_.data(), {b}, DType::i32};
    batch_.order_weights = {order_weights_.data(), {b}, DType::f32};
    batch_.weights = {weights_.data(), {n_}, DType::f32};
    batch_.layout = {.spans = spans_, .max_length = s, .first_token = 0, .seed = 1, .step = 1, .training = true};
  }

  size_t bytes() const {
    Arena measuring;
    StageModel::allocate_stash(shape_, n_, measuring);
    if (recomputes()) StageModel::allocate_stash(keeping(), n_, measuring);
    StageModel::allocate_workspace(shape_, n_, true, measuring);
    StageModel::allocate_deferred(shape_, n_, measuring);
    for (int i = 0; i < 4; ++i) measuring.allocate({n_, shape_.config.hidden_size}, shape_.compute_type);
    return measuring.peak() + 8 * Arena::kAlignment;
  }

  AbsentGroup group_;
  StageShape shape_;
  int64_t n_;
  Context context_;
  std::unique_ptr<StageModel> owner_;
  StageModel& model_;
  Optimizer optimizer_;
  Arena arena_;
  StageStash stash_, kept_;
  StageWorkspace workspace_;
  StageDeferred deferred_;
  Tensor input_, output_, gradient_, source_;
  std::vector<int32_t> tokens_, positions_, types_, order_;
  std::vector<float> weights_, order_weights_;
  std::vector<Span> spans_;
  MicroBatch batch_;
};

// 1, 2, 4, ... and all ranks of a host.
std::vector<int> counts_at_work(int ranks) {
  std::vector<int> counts;
  for (int k = 1; k < ranks; k *= 2) counts.push_back(k);
  counts.push_back(ranks);
  return counts;
}

// From the measured counts to every number of ranks.
std::vector<double> interpolated(const std::vector<int>& counts, const std::vector<double>& values) {
  std::vector<double> result;
  for (size_t i = 0; i < counts.size(); ++i)
    while (static_cast<int>(result.size()) < counts[i]) {
      const auto k = static_cast<double>(result.size() + 1), to = static_cast<double>(counts[i]);
      const double from = i > 0 ? static_cast<double>(counts[i - 1]) : to - 1;
      const double before = i > 0 ? values[i - 1] : values[i];
      result.push_back(before + (values[i] - before) * (k - from) / (to - from));
    }
  return result;
}

// The layers, head and embedding as a tensor group of `t` has them.
class LayerProfile {
 public:
  LayerProfile(World& world, const RunConfig& run, int t)
      : world_(world), counts_(t == 1 ? counts_at_work(world.local_size()) : std::vector<int>{}),
        num_layers_(std::min<int64_t>(run.model.num_layers, 2)), layers_(run, {0, num_layers_, false, false}, t),
        head_(run, {num_layers_, 0, false, true}, t), embedding_(run, {0, 0, true, false}, t),
        group_(world.split("calibration", world.rank() / t, world.rank())), rounds_(world, kSharing + static_cast<int>(counts_.size())),
        splits_(run.train.recompute != Recompute::full), t_(t) {}

  void measure(double seconds) {
    while (rounds_.next(seconds)) round();
  }

  void append_to(ProfileSpec& profile) const {
    const auto layers = static_cast<double>(num_layers_);
    const double backward = rounds_.middle(kBackward);
    profile.tensor_parallel.push_back(t_);
    profile.layer_forward.push_back(rounds_.middle(kForward) / layers);
    profile.layer_backward.push_back(backward / layers);
    profile.layer_backward_weight.push_back(splits_ ? rounds_.middle(kWeight) / layers : 0);
    profile.layer_recompute.push_back(layers_.recomputes() ? std::max(0.0, backward - rounds_.middle(kKept)) / layers : 0);
    profile.head_forward.push_back(rounds_.middle(kHeadForward));
    profile.head_backward.push_back(rounds_.middle(kHeadBackward));
    profile.embedding.push_back(rounds_.middle(kEmbeddingForward) + rounds_.middle(kEmbeddingBackward));
    profile.exchange.push_back(t_ > 1 ? rounds_.middle(kExchange) : 0);
    if (t_ == 1) profile.optimizer_per_parameter = rounds_.middle(kOptimizer) / static_cast<double>(layers_.num_parameters());
  }

  std::vector<double> share_slowdown() const {
    std::vector<double> values;
    for (size_t i = 0; i < counts_.size(); ++i)
      values.push_back(rounds_.middle_ratio(kSharing + static_cast<int>(i), kSharing + static_cast<int>(counts_.size()) - 1));
    return interpolated(counts_, values);
  }

 private:
  enum Piece {
    kForward, kBackward, kWeight, kKept, kHeadForward, kHeadBackward, kEmbeddingForward, kEmbeddingBackward, kOptimizer, kExchange, kSharing
  };

  void round() {
    rounds_.time(kForward, [&] { layers_.forward(); });
    layers_.new_gradient();
    rounds_.time(kBackward, [&] { layers_.backward(); });
    if (splits_) {
      layers_.new_gradient();
      layers_.backward(true);
      rounds_.time(kWeight, [&] { layers_.backward_weight(); });
    }
    if (layers_.recomputes()) {
      layers_.forward_kept();
      layers_.new_gradient();
      rounds_.time(kKept, [&] { layers_.backward_kept(); });
    }
    rounds_.time(kHeadForward, [&] { head_.forward(); });
    rounds_.time(kHeadBackward, [&] { head_.backward(); });
    rounds_.time(kEmbeddingForward, [&] { embedding_.forward(); });
    embedding_.new_gradient();
    rounds_.time(kEmbeddingBackward, [&] { embedding_.backward(); });
    rounds_.time(kOptimizer, [&] { layers_.update_weights(); });
    if (t_ > 1) rounds_.time_on_some(kExchange, true, [&] { group_->all_reduce(layers_.activations(), ReduceOp::max); });
    for (size_t i = 0; i < counts_.size(); ++i)
      rounds_.time_on_some(kSharing + static_cast<int>(i), world_.local_rank() < counts_[i], [&] {
        layers_.forward();
        layers_.new_gradient();
        layers_.backward();
      });
  }

  World& world_;
  std::vector<int> counts_;
  int64_t num_layers_;
  TimedPart layers_, head_, embedding_;
  std::unique_ptr<Communicator> group_;
  TimingRounds rounds_;
  bool splits_;
  int t_;
};

}  // namespace

void profile_layers(World& world, const RunConfig& run, double seconds, Hardware& hardware) {
  ProfileSpec profile;
  profile.hidden_size = run.model.hidden_size, profile.num_heads = run.model.num_heads, profile.ffn_hidden_size = run.model.ffn_size();
  profile.vocab_size = run.model.vocab_size, profile.sequence_length = run.train.sequence_length;
  profile.micro_batch_size = run.train.micro_batch_size;
  profile.precision = name_of(run.train.precision);
  profile.recompute = name_of(run.train.recompute);
  std::vector<int> groups;
  for (int t = 1; t <= world.size(); ++t)
    if (world.size() % t == 0 && run.model.num_heads % t == 0 && run.model.ffn_size() % t == 0) groups.push_back(t);
  for (const int t : groups) {
    LayerProfile layers(world, run, t);
    layers.measure(seconds / static_cast<double>(groups.size()));
    layers.append_to(profile);
    if (t == 1 && world.local_size() > 1) hardware.device.share_slowdown = layers.share_slowdown();
  }
  hardware.profile = profile;
}

}  // namespace triax
