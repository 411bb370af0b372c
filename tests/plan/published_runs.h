// Published runs as plans, with the software that ran them.
#pragma once

#include <string>
#include <vector>

#include "plan/published.h"
#include "triax/plan/step.h"

namespace triax {

struct PublishedRun {
  std::string name;
  StepPlan plan;
  SoftwareSpec software;
  double seconds = 0;  // of a step, as published or from the published FLOP/s
  bool fitted = false;
};

// Megatron-LM as Narayanan et al. ran it: gradients in fp16, summed by a kernel of their own; exchanges between tensor
// ranks hidden behind nothing. With p = 1 their script takes PyTorch's DDP, which overlaps.
inline SoftwareSpec software_2021(bool overlap_data) {
  SoftwareSpec s;
  s.name = "Megatron-LM, 2021";
  s.fused_gradient_accumulation = s.overlap_tensor = false;
  s.overlap_data = overlap_data;
  s.gradient_bytes = 2;
  return s;
}
// As Korthikanti et al. ran it a year later.
inline SoftwareSpec software_2022() {
  SoftwareSpec s;
  s.name = "Megatron-LM, 2022";
  return s;
}
// DeepSpeed's pipeline engine: whole activations from every tensor rank, bf16 gradients summed in fp32.
inline SoftwareSpec software_deepspeed() {
  SoftwareSpec s;
  s.name = "Megatron-DeepSpeed, 2021";
  s.fused_gradient_accumulation = s.overlap_tensor = s.scatter_gather = false;
  s.gradient_bytes = 4;
  s.stage_overhead = 0.01526;  // fitted on the first of the three MT-NLG points
  return s;
}

// DeepSpeed's ZeRO 3 as Narayanan et al. measured it (Table 2). Until its pull request 1188 of June 2021 each gather waited
// for the one before it, so that nothing overlapped, and what the collective had put into a list of the ranks' parts was
// copied once more, part by part.
inline SoftwareSpec software_zero3() {
  SoftwareSpec s;
  s.name = "DeepSpeed ZeRO 3, 2021";
  s.fused_gradient_accumulation = s.overlap_tensor = false;
  s.gradient_bytes = 2;
  s.regathers = true;
  s.exchange_copies = 2;
  s.part_overhead = 120e-6;  // fitted on the second of the six points: 30 us for each of a layer's four matrices
  return s;
}

inline StepPlan published_plan(const ModelConfig& model, int64_t t, int64_t p, int64_t devices, int64_t v, int64_t b,
                               int64_t batch, Recomputation recompute = Recomputation::full) {
  StepPlan plan;
  plan.model = model;
  plan.tensor_parallel = t, plan.pipeline_parallel = p, plan.data_parallel = devices / (t * p);
  plan.virtual_pipeline = v, plan.micro_batch_size = b, plan.global_batch_size = batch;
  plan.recompute = recompute;
  return plan;
}

inline std::vector<PublishedRun> published_runs() {
  std::vector<PublishedRun> runs;
  for (const WeakScalingRow& r : kWeakScaling) {
    const StepPlan plan = published_plan(r.model(), r.t, r.p, r.devices, r.chunks, r.micro_batch, r.batch);
    const double seconds = published_flops(r.model(), 2048, r.batch) / (static_cast<double>(r.devices) * r.tflops * 1e12);
    runs.push_back({fmt::format("Table 1, {}B on {}", r.parameters_billion, r.devices), plan, software_2021(r.p == 1), seconds,
                    r.hidden == 2304 || r.hidden == 6144 || r.hidden == 20480});
  }
  for (const DaysRow& r : kDays) {
    if (r.t == 1) continue;
    // The paper does not say how many chunks; one layer (530B) and two layers (175B) each, as elsewhere in it.
    const int64_t chunks = r.p == 12 ? 4 : 3;
    const StepPlan plan = published_plan(r.model(), r.t, r.p, r.devices, chunks, r.micro_batch, r.batch);
    const double seconds = published_flops(r.model(), 2048, r.batch) / (static_cast<double>(r.devices) * r.tflops * 1e12);
    runs.push_back({fmt::format("Table 2, {}B on {}", r.parameters_billion, r.devices), plan, software_2021(false), seconds, false});
  }
  for (const RecomputationRow& r : kRecomputation) {
    StepPlan plan = published_plan(r.model(), r.t, r.p, r.devices, r.chunks, r.micro_batch, r.batch);
    runs.push_back({fmt::format("Korthikanti, {} full", r.name), plan, software_2022(), r.full_seconds, r.hidden == 6144});
    plan.recompute = Recomputation::selective, plan.sequence_parallel = true;
    runs.push_back({fmt::format("Korthikanti, {} selective", r.name), plan, software_2022(), r.selective_seconds, r.hidden == 25600});
  }
  StepPlan plan = published_plan(published_model(105, 128, 20480), 8, 35, 2240, 3, 1, 2240, Recomputation::selective);
  plan.sequence_parallel = true;
  runs.push_back({"Korthikanti, 530B on 2240", plan, software_2022(), 39.15, false});
  return runs;
}

// Narayanan et al. 2021, Table 2: ZeRO 3 without model parallelism.
inline std::vector<PublishedRun> zero3_runs() {
  std::vector<PublishedRun> runs;
  for (const DaysRow& r : kDays) {
    if (r.p > 1) continue;
    StepPlan plan = published_plan(r.model(), 1, 1, r.devices, 1, r.micro_batch, r.batch);
    plan.zero_stage = 3;
    const double seconds = published_flops(r.model(), 2048, r.batch) / (static_cast<double>(r.devices) * r.tflops * 1e12);
    runs.push_back({fmt::format("ZeRO 3, {}B on {}", r.parameters_billion, r.devices), plan, software_zero3(), seconds, runs.size() == 1});
  }
  return runs;
}

// MT-NLG 530B, Smith et al. 2022, section 2.3.
inline std::vector<PublishedRun> mt_nlg_runs() {
  std::vector<PublishedRun> runs;
  const double seconds[] = {60.1, 50.2, 44.4};
  for (int i = 0; i < 3; ++i) {
    const int64_t devices = 2240 + 560 * i;
    runs.push_back({fmt::format("MT-NLG on {}", devices),
                    published_plan(published_model(105, 128, 20480), 8, 35, devices, 1, 1, 1920), software_deepspeed(), seconds[i], i == 0});
  }
  return runs;
}

}  // namespace triax
