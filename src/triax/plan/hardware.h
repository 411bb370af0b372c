// What a cluster is made of, as its TOML file in configs/hardware/ says. Data sheets give the peaks; a few constants
// say how much of them real programs see, and are fitted or measured (docs/planning.md tells which, and on what).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "triax/base/config.h"

namespace triax {

struct DeviceSpec {
  std::string name = "device";
  std::string kind = "gpu";
  double memory_bytes = 80e9;
  double reserved_bytes = 3e9;
  double fragmentation = 0.05;
  double peak_flops = 312e12;
  double memory_bandwidth = 2.0e12;
  int64_t compute_units = 108;
  double gemm_efficiency = 0.8;
  double gemm_half_k = 128;
  double bandwidth_efficiency = 0.8;
  double kernel_latency = 5e-6;
  std::vector<double> gemm_m, gemm_n, gemm_k, gemm_flops;
  std::vector<double> share_slowdown;

  template <class V>
  void visit(V& v) {
    v("name", name, "what it is called");
    v("kind", kind, "gpu: memory as Megatron keeps it; cpu: exactly what `triax train` allocates", {"gpu", "cpu"});
    v("memory_bytes", memory_bytes, "of one device (cpu: of one rank)").at_least(1);
    v("reserved_bytes", reserved_bytes, "taken by the driver, libraries and buffers of collectives").at_least(0);
    v("fragmentation", fragmentation, "memory lost between tensors, as a share of activations").between(0, 1);
    v("peak_flops", peak_flops, "matrix products in the training precision, FLOP/s").at_least(1);
    v("memory_bandwidth", memory_bandwidth, "bytes/s").at_least(1);
    v("compute_units", compute_units, "that share a matrix product tile by tile (SMs); 0: no tiles").at_least(0);
    v("gemm_efficiency", gemm_efficiency, "of the peak, by a large product whose tiles fill all units").between(0.001, 1);
    v("gemm_half_k", gemm_half_k, "inner size at which a product is half as fast").at_least(0);
    v("bandwidth_efficiency", bandwidth_efficiency, "of the bandwidth, by norms, dropout, softmax, the optimizer").between(0.001, 1);
    v("kernel_latency", kernel_latency, "seconds from one kernel to the next").at_least(0);
    v("gemm_m", gemm_m, "measured products: rows; with these the four numbers above are not used for products").at_least(1);
    v("gemm_n", gemm_n, "measured products: columns").at_least(1);
    v("gemm_k", gemm_k, "measured products: inner size").at_least(1);
    v("gemm_flops", gemm_flops, "measured products: FLOP/s").at_least(1);
    v("share_slowdown", share_slowdown, "a computation's time while 1, 2, ... ranks of the host compute, over that while all do; "
      "empty: ranks do not slow each other down").at_least(0.001);
  }
};

struct NodeSpec {
  int64_t devices = 8;
  double link_bandwidth = 230e9;
  double link_latency = 20e-6;
  double watts = 6500;

  template <class V>
  void visit(V& v) {
    v("devices", devices, "devices that share a host").at_least(1);
    v("link_bandwidth", link_bandwidth, "bytes/s of each device in a collective over the node, each way").at_least(1);
    v("link_latency", link_latency, "seconds of a small collective over the node").at_least(0);
    v("watts", watts, "of a whole host at work").at_least(0);
  }
};

struct NetworkSpec {
  int64_t nodes = 1;
  int64_t adapters = 8;
  double adapter_bandwidth = 25e9;
  double efficiency = 0.8;
  double latency = 10e-6;
  double oversubscription = 1;

  template <class V>
  void visit(V& v) {
    v("nodes", nodes, "hosts of the cluster").at_least(1);
    v("adapters", adapters, "network adapters of a host for training traffic").at_least(1);
    v("adapter_bandwidth", adapter_bandwidth, "bytes/s of one, each way").at_least(1);
    v("efficiency", efficiency, "of that, by large messages").between(0.001, 1);
    v("latency", latency, "seconds of a small message, one hop of a ring").at_least(0);
    v("oversubscription", oversubscription, "of the fat tree: 1 has full bisection bandwidth").at_least(1);
  }
};

struct StorageSpec {
  double read_bandwidth = 1e12, write_bandwidth = 250e9;
  template <class V>
  void visit(V& v) {
    v("read_bandwidth", read_bandwidth, "bytes/s of the shared file system").at_least(1);
    v("write_bandwidth", write_bandwidth, "bytes/s").at_least(1);
  }
};

struct CostSpec {
  double price_per_device_hour = 0;
  double price_per_kwh = 0;
  double power_usage_effectiveness = 1.2;
  double node_mtbf_hours = 20000;
  double restart_seconds = 600;
  double step_variation = 0;

  template <class V>
  void visit(V& v) {
    v("price_per_device_hour", price_per_device_hour, "dollars").at_least(0);
    v("price_per_kwh", price_per_kwh, "dollars, where the machine is one's own; 0: in the price above").at_least(0);
    v("power_usage_effectiveness", power_usage_effectiveness, "of the building, energy in over energy used").at_least(1);
    v("node_mtbf_hours", node_mtbf_hours, "mean hours between failures of one host").at_least(1);
    v("restart_seconds", restart_seconds, "from a failure to training again, without reading the checkpoint").at_least(0);
    v("step_variation", step_variation, "standard deviation of a device's speed, as a share of it").between(0, 0.5);
  }
};

// What the training program does, where programs differ.
struct SoftwareSpec {
  std::string name = "triax";
  bool fused_operators = true;
  bool fused_gradient_accumulation = true;
  bool overlap_tensor = true;
  bool overlap_pipeline = false;
  bool overlap_data = false;
  bool scatter_gather = true;
  int64_t gradient_bytes = 4;
  double stage_overhead = 0;
  bool regathers = false;
  int64_t exchange_copies = 0;
  double part_overhead = 0;

  template <class V>
  void visit(V& v) {
    v("name", name, "of the program");
    v("fused_operators", fused_operators, "bias + GELU, bias + dropout + add, scale + mask + softmax in one kernel each");
    v("fused_gradient_accumulation", fused_gradient_accumulation, "weight gradients are summed by the product that makes them");
    v("overlap_tensor", overlap_tensor, "the backward's exchange over tensor ranks runs beside the weight gradient");
    v("overlap_pipeline", overlap_pipeline, "messages between stages move while the stages compute");
    v("overlap_data", overlap_data, "gradients are exchanged while the last micro-batch goes back");
    v("scatter_gather", scatter_gather, "tensor ranks each send 1 / t of what goes to the next stage");
    v("gradient_bytes", gradient_bytes, "of a gradient where it is summed and exchanged").between(2, 4);
    v("stage_overhead", stage_overhead, "seconds of the host program for each pass of a micro-batch through a chunk").at_least(0);
    v("regathers", regathers, "ZeRO 3 with full recomputation gathers a layer's weights for the recomputation and again for the backward");
    v("exchange_copies", exchange_copies, "times that the program copies what ZeRO 3 exchanges").at_least(0);
    v("part_overhead", part_overhead, "seconds of the host program for each rank's part of a layer's weights that ZeRO 3 gathers").at_least(0);
  }
};

// Times of one model's real layers on this machine, as `triax plan calibrate run.toml` measures them: they stand for the
// cost model where a plan is of the same model and batch.
struct ProfileSpec {
  int64_t hidden_size = 0, num_heads = 0, ffn_hidden_size = 0, vocab_size = 0, sequence_length = 0, micro_batch_size = 0;
  std::string precision, recompute;
  std::vector<int64_t> tensor_parallel;
  std::vector<double> layer_forward, layer_backward, layer_backward_weight, layer_recompute, head_forward, head_backward, embedding, exchange;
  double optimizer_per_parameter = 0;

  template <class V>
  void visit(V& v) {
    v("hidden_size", hidden_size, "of the model that was measured; 0: none was").at_least(0);
    v("num_heads", num_heads, "of that model").at_least(0);
    v("ffn_hidden_size", ffn_hidden_size, "of that model").at_least(0);
    v("vocab_size", vocab_size, "of that model").at_least(0);
    v("sequence_length", sequence_length, "of the samples").at_least(0);
    v("micro_batch_size", micro_batch_size, "sequences at a time").at_least(0);
    v("precision", precision, "fp32, bf16 or fp16");
    v("recompute", recompute, "none, selective or full");
    v("tensor_parallel", tensor_parallel, "sizes of tensor groups; one element of the lists below for each").at_least(1);
    v("layer_forward", layer_forward, "seconds of one micro-batch").at_least(0);
    v("layer_backward", layer_backward, "seconds, all of it").at_least(0);
    v("layer_backward_weight", layer_backward_weight, "seconds of that for the weights").at_least(0);
    v("layer_recompute", layer_recompute, "seconds of that for what was not kept").at_least(0);
    v("head_forward", head_forward, "seconds").at_least(0);
    v("head_backward", head_backward, "seconds").at_least(0);
    v("embedding", embedding, "seconds, forward and backward").at_least(0);
    v("exchange", exchange, "seconds to sum a micro-batch's activations over the tensor group").at_least(0);
    v("optimizer_per_parameter", optimizer_per_parameter, "seconds").at_least(0);
  }
};

struct Hardware {
  DeviceSpec device;
  NodeSpec node;
  NetworkSpec network;
  StorageSpec storage;
  CostSpec cost;
  SoftwareSpec software;
  ProfileSpec profile;

  template <class V>
  void visit(V& v) {
    v.section("device", device, "one accelerator, or one rank's cores");
    v.section("node", node, "one host and the links inside it");
    v.section("network", network, "between hosts");
    v.section("storage", storage, "where checkpoints go");
    v.section("cost", cost, "money, energy, failures");
    v.section("software", software, "what the training program does");
    v.section("profile", profile, "measured layers of one model");
  }

  int64_t devices() const { return node.devices * network.nodes; }
};

// `name` is a file, or the name of one in configs/hardware/ of the source tree or the installation. `settings`:
// "network.nodes=4". Throws Error naming file and key.
Hardware load_hardware(const std::string& name, const std::vector<std::string>& settings = {});
void validate(const Hardware& hardware);

// ---- times ------------------------------------------------------------------------------------------------------

// Seconds of `count` products c [m, n] = a [m, k] b [k, n] done together.
double gemm_seconds(const DeviceSpec& device, double m, double n, double k, double count = 1);
// Seconds of a kernel that moves so many bytes, once for each of `kernels`.
double memory_seconds(const DeviceSpec& device, double bytes, double kernels = 1);

// A group of ranks that talk: how many of them share a host, and how many such groups send over the host's adapters
// at the same time.
struct GroupPlace {
  int64_t size = 1;
  int64_t in_node = 1;         // members on one host
  int64_t groups_in_node = 1;  // groups of this kind with members on that host
};
// Ring all-gather or reduce-scatter of `bytes` in all; an all-reduce is two of them.
double gather_seconds(const Hardware& hardware, const GroupPlace& place, double bytes);
double all_reduce_seconds(const Hardware& hardware, const GroupPlace& place, double bytes);
// One message to a neighbour on the same host or another; `senders` devices of the host send at the same time.
double message_seconds(const Hardware& hardware, double bytes, bool same_node, int64_t senders);

}  // namespace triax
