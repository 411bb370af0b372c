#include "triax/plan/calibrate.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include "triax/base/parallel.h"
#include "triax/base/system.h"
#include "triax/comm/absent_group.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/linear.h"
#include "triax/kernels/peak.h"
#include "triax/models/stage_model.h"
#include "triax/optim/optimizer.h"

namespace triax {
namespace {

using Clock = std::chrono::steady_clock;

// The middle of several timings of `work`, of the slowest rank; at least three, for about `seconds`.
double time_of(World& world, double seconds, const std::function<void()>& work) {
  work();
  world.communicator().barrier();
  std::vector<double> times;
  double total = 0;
  while (times.size() < 3 || (total < seconds && times.size() < 1000)) {
    const auto begin = Clock::now();
    work();
    times.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    total += times.back();
    double go_on = total;  // as long as the slowest wants to
    world.communicator().all_reduce({&go_on, {1}, DType::f64}, ReduceOp::max);
    total = go_on;
  }
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  double middle = times[times.size() / 2];
  world.communicator().all_reduce({&middle, {1}, DType::f64}, ReduceOp::max);
  return middle;
}

struct Product {
  int64_t m, n, k;
};
// Tokens by width by width, as the layers of small and medium models have them.
constexpr Product kProducts[] = {{256, 256, 256},   {1024, 384, 384},  {1024, 1536, 384},  {1024, 384, 1536},  {384, 1536, 1024},
                                 {2048, 768, 768},  {2048, 3072, 768}, {2048, 768, 3072},  {768, 3072, 2048},  {1024, 4096, 1024},
                                 {2048, 2048, 2048}, {64, 768, 768},   {4096, 1024, 1024}, {512, 8192, 512}};

void measure_products(World& world, double seconds, DeviceSpec& device) {
  const Context context;
  for (const Product& p : kProducts) {
    Buffer a(static_cast<size_t>(p.m * p.k) * 4), b(static_cast<size_t>(p.n * p.k) * 4), c(static_cast<size_t>(p.m * p.n) * 4);
    const Tensor x{a.data(), {p.m, p.k}, DType::f32}, w{b.data(), {p.n, p.k}, DType::f32}, y{c.data(), {p.m, p.n}, DType::f32};
    fill(context, x, 1.0f), fill(context, w, 1.0f);
    const double took = time_of(world, seconds / static_cast<double>(std::size(kProducts)), [&] { gemm(context, false, true, x, w, 0, y); });
    device.gemm_m.push_back(static_cast<double>(p.m)), device.gemm_n.push_back(static_cast<double>(p.n)), device.gemm_k.push_back(static_cast<double>(p.k));
    device.gemm_flops.push_back(2.0 * static_cast<double>(p.m * p.n * p.k) / took);
  }
  device.peak_flops = *std::max_element(device.gemm_flops.begin(), device.gemm_flops.end());
}

// Latency from a small all-reduce, bandwidth from a large one.
void measure_group(World& world, Communicator& group, double seconds, double& latency, double& bandwidth) {
  constexpr int64_t kSmall = 256, kLarge = 4 << 20;  // floats
  std::vector<float> values(static_cast<size_t>(kLarge), 1.0f);
  const auto reduce = [&](int64_t count) {
    return time_of(world, seconds / 2, [&] { group.all_reduce({values.data(), {count}, DType::f32}, ReduceOp::max); });
  };
  const double small = reduce(kSmall), large = reduce(kLarge);
  const double n = group.size();
  latency = small / 2;
  bandwidth = 2.0 * 4.0 * static_cast<double>(kLarge) * (n - 1) / n / std::max(large - small, 1e-9);
}

void measure_communication(World& world, double seconds, Hardware& hardware) {
  const int local = world.local_size(), hosts = world.size() / local;
  hardware.node.devices = local;
  hardware.network.nodes = hosts;
  const std::unique_ptr<Communicator> host = world.split("host", world.rank() / local, world.rank());
  if (local > 1) measure_group(world, *host, seconds, hardware.node.link_latency, hardware.node.link_bandwidth);
  if (hosts == 1) return;
  // One rank of each host: the network's adapters taken as one.
  const std::unique_ptr<Communicator> across = world.split("hosts", world.rank() % local, world.rank());
  double bandwidth = 0;
  measure_group(world, *across, seconds, hardware.network.latency, bandwidth);
  hardware.network.adapters = 1;
  hardware.network.efficiency = 1;
  hardware.network.adapter_bandwidth = bandwidth * local;
}

struct PartTimes {
  double forward = 0, backward = 0, backward_weight = 0, optimizer_per_parameter = 0;
};

// Times a part of the model as one rank of a tensor group of `t` has it.
class PartTimer {
 public:
  PartTimer(World& world, const RunConfig& run, const ModelPart& part, int t, double seconds)
      : world_(world), seconds_(seconds), group_(0, t),
        shape_{run.model, part, {.group = &group_, .sequence_parallel = false}, run.train.recompute, run.engine().compute_type(),
               run.train.micro_batch_size},
        n_(run.train.micro_batch_size * run.train.sequence_length), owner_(make_stage_model(shape_, true)), model_(*owner_),
        arena_("calibration", bytes()), stash_(model_.allocate_stash(n_, arena_)),
        workspace_(model_.allocate_workspace(n_, true, arena_)), deferred_(StageModel::allocate_deferred(shape_, n_, arena_)),
        input_(arena_.allocate({n_, run.model.hidden_size}, shape_.compute_type)),
        output_(arena_.allocate({n_, run.model.hidden_size}, shape_.compute_type)),
        gradient_(arena_.allocate({n_, run.model.hidden_size}, shape_.compute_type)), tokens_(static_cast<size_t>(n_)),
        positions_(static_cast<size_t>(n_)), types_(static_cast<size_t>(n_)), order_(static_cast<size_t>(run.train.micro_batch_size)),
        weights_(static_cast<size_t>(n_), 1.0f / static_cast<float>(n_)), order_weights_(order_.size(), 1.0f) {
    model_.parameters().initialize(context_, 1);
    model_.parameters().refresh_copies(context_);
    fill(context_, model_.parameters().flat_gradient(), 0.0f);
    fill(context_, input_, 0.5f), fill(context_, gradient_, 1e-4f);
    const int64_t s = run.train.sequence_length;
    for (int64_t i = 0; i < n_; ++i) {
      // Of a BERT, about the published share is masked.
      if (run.model.is_bert() && static_cast<double>(i % 20) >= 20 * kMaskedShare) weights_[static_cast<size_t>(i)] = 0;
      tokens_[static_cast<size_t>(i)] = static_cast<int32_t>(i * 7919 % run.model.vocab_size);
      positions_[static_cast<size_t>(i)] = static_cast<int32_t>(i % s);
    }
    for (int64_t i = 0; i < run.train.micro_batch_size; ++i) spans_.push_back({i * s, s});
    batch_.tokens = batch_.targets = {tokens_.data(), {n_}, DType::i32};
    batch_.positions = {positions_.data(), {n_}, DType::i32};
    batch_.types = {types_.data(), {n_}, DType::i32};
    batch_.order = {order_.data(), {run.train.micro_batch_size}, DType::i32};
    batch_.order_weights = {order_weights_.data(), {run.train.micro_batch_size}, DType::f32};
    batch_.weights = {weights_.data(), {n_}, DType::f32};
    batch_.layout = {.spans = spans_, .max_length = s, .first_token = 0, .seed = 1, .step = 1, .training = true};
  }

  PartTimes measure() {
    PartTimes times;
    const ModelPart& part = shape_.part;
    const Tensor input = part.has_embedding ? Tensor{} : stash_.inputs[0];
    if (!part.has_embedding) convert(context_, input_, stash_.inputs[0]);
    const Tensor output = part.has_head ? Tensor{} : output_;
    times.forward = time_of(world_, seconds_, [&] { model_.forward(context_, batch_, input, output, 1.0f, true, stash_, workspace_); });
    const Tensor gradient = part.has_head ? stash_.gradient : gradient_;
    times.backward = time_of(world_, seconds_, [&] { model_.backward(context_, batch_, gradient, stash_, workspace_); });
    if (part.num_layers > 0 && shape_.recompute != Recompute::full) {
      model_.backward(context_, batch_, gradient, stash_, workspace_, &deferred_);
      times.backward_weight = time_of(world_, seconds_, [&] { model_.backward_weight(context_, stash_, workspace_, deferred_); });
    }
    Optimizer optimizer(model_.parameters(), {});
    const auto parameters = static_cast<double>(model_.parameters().table().num_parameters());
    times.optimizer_per_parameter = time_of(world_, seconds_, [&] {
      gradient_squares(context_, model_.parameters(), true);
      optimizer.step(context_, 1e-9, 1.0);
      fill(context_, model_.parameters().flat_gradient(), 0.0f);
    }) / parameters;
    return times;
  }

 private:
  size_t bytes() const {
    Arena measuring;
    StageModel::allocate_stash(shape_, n_, measuring);
    StageModel::allocate_workspace(shape_, n_, true, measuring);
    StageModel::allocate_deferred(shape_, n_, measuring);
    for (int i = 0; i < 3; ++i) measuring.allocate({n_, shape_.config.hidden_size}, shape_.compute_type);
    return measuring.peak() + 8 * Arena::kAlignment;
  }

  World& world_;
  double seconds_;
  AbsentGroup group_;
  StageShape shape_;
  int64_t n_;
  Context context_;
  std::unique_ptr<StageModel> owner_;
  StageModel& model_;
  Arena arena_;
  StageStash stash_;
  StageWorkspace workspace_;
  StageDeferred deferred_;
  Tensor input_, output_, gradient_;
  std::vector<int32_t> tokens_, positions_, types_, order_;
  std::vector<float> weights_, order_weights_;
  std::vector<Span> spans_;
  MicroBatch batch_;
};

}  // namespace

Hardware calibrate(World& world, double seconds) {
  Hardware hardware;
  DeviceSpec& device = hardware.device;
  const int ranks = world.local_size();
  device.name = fmt::format("{}, {} thread{} a rank", cpu_info().model, num_threads(), num_threads() == 1 ? "" : "s");
  device.kind = "cpu";
  device.reserved_bytes = static_cast<double>(resident_bytes());
  device.memory_bytes = static_cast<double>(memory_limit_bytes()) / ranks;
  device.compute_units = 0;
  device.fragmentation = 0;
  device.kernel_latency = 5e-6;
  measure_products(world, seconds, device);
  double slowest = measure_memory_bandwidth({}, size_t{64} << 20, seconds / 10);
  world.communicator().all_reduce({&slowest, {1}, DType::f64}, ReduceOp::min);
  device.memory_bandwidth = slowest;
  device.bandwidth_efficiency = 1;
  hardware.node = {.devices = 1, .link_bandwidth = 5e9, .link_latency = 5e-6, .watts = 0};
  hardware.network = {.nodes = 1, .adapters = 1, .adapter_bandwidth = 1.25e9, .efficiency = 1, .latency = 3e-5, .oversubscription = 1};
  if (world.size() > 1) measure_communication(world, seconds / 5, hardware);
  hardware.storage = {.read_bandwidth = 1e9, .write_bandwidth = 5e8};
  hardware.software.name = "triax";
  hardware.software.overlap_tensor = false;  // exchanges take the cores that the products need
  return hardware;
}

void profile_layers(World& world, const RunConfig& run, double seconds, Hardware& hardware) {
  ProfileSpec& profile = hardware.profile;
  constexpr const char* kPrecision[] = {"fp32", "bf16", "fp16"};
  constexpr const char* kRecompute[] = {"none", "selective", "full"};
  profile = {.hidden_size = run.model.hidden_size, .num_heads = run.model.num_heads, .ffn_hidden_size = run.model.ffn_size(),
             .vocab_size = run.model.vocab_size, .sequence_length = run.train.sequence_length, .micro_batch_size = run.train.micro_batch_size,
             .precision = kPrecision[static_cast<size_t>(run.train.precision)], .recompute = kRecompute[static_cast<size_t>(run.train.recompute)],
             .tensor_parallel = {}, .layer_forward = {}, .layer_backward = {}, .layer_backward_weight = {}, .head_forward = {},
             .head_backward = {}, .embedding = {}};
  constexpr int64_t kLayers = 2;
  for (int t = 1; t <= world.size(); ++t) {
    if (world.size() % t != 0 || run.model.num_heads % t != 0 || run.model.ffn_size() % t != 0) continue;
    const double each = seconds / 12;
    const PartTimes layers = PartTimer(world, run, {0, kLayers, false, false}, t, each).measure();
    const PartTimes head = PartTimer(world, run, {kLayers, 0, false, true}, t, each).measure();
    const PartTimes first = PartTimer(world, run, {0, kLayers, true, false}, t, each).measure();
    profile.tensor_parallel.push_back(t);
    profile.layer_forward.push_back(layers.forward / kLayers);
    profile.layer_backward.push_back(layers.backward / kLayers);
    profile.layer_backward_weight.push_back(layers.backward_weight / kLayers);
    profile.head_forward.push_back(head.forward);
    profile.head_backward.push_back(head.backward);
    profile.embedding.push_back(std::max(0.0, first.forward + first.backward - layers.forward - layers.backward));
    profile.optimizer_per_parameter = std::max(profile.optimizer_per_parameter, first.optimizer_per_parameter);
  }
}

}  // namespace triax
