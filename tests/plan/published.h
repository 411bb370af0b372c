// The published runs that the planner is judged by, as their papers give them.
#pragma once

#include <string>

#include "triax/models/model_config.h"

namespace triax {

inline ModelConfig published_model(int64_t layers, int64_t heads, int64_t hidden) {
  ModelConfig model;
  model.vocab_size = 51200, model.max_positions = 2048;
  model.num_layers = layers, model.num_heads = heads, model.hidden_size = hidden;
  return model;
}

// Narayanan et al. 2021, Table 1; micro-batch and chunks from the authors' script.
struct WeakScalingRow {
  double parameters_billion;
  int64_t layers, heads, hidden, t, p, devices, batch, micro_batch, chunks;
  double tflops;
  ModelConfig model() const { return published_model(layers, heads, hidden); }
};
inline constexpr WeakScalingRow kWeakScaling[] = {
    {1.7, 24, 24, 2304, 1, 1, 32, 512, 16, 1, 137},          {3.6, 30, 32, 3072, 2, 1, 64, 512, 16, 1, 138},
    {7.5, 36, 32, 4096, 4, 1, 128, 512, 16, 1, 142},         {18.4, 40, 48, 6144, 8, 1, 256, 1024, 8, 1, 135},
    {39.1, 48, 64, 8192, 8, 2, 512, 1536, 4, 1, 138},        {76.1, 60, 80, 10240, 8, 4, 1024, 1792, 2, 3, 140},
    {145.6, 80, 96, 12288, 8, 8, 1536, 2304, 2, 2, 148},     {310.1, 96, 128, 16384, 8, 16, 1920, 2160, 1, 2, 155},
    {529.6, 105, 128, 20480, 8, 35, 2520, 2520, 1, 3, 163},  {1008.0, 128, 160, 25600, 8, 64, 3072, 3072, 1, 1, 163}};

// Table 2: ZeRO-3 without model parallelism (t = p = 1), and PTD-P.
struct DaysRow {
  double parameters_billion;
  int64_t layers, heads, hidden, t, p, batch, devices, micro_batch;
  double tflops, days;
  ModelConfig model() const { return published_model(layers, heads, hidden); }
};
inline constexpr DaysRow kDays[] = {
    {174.6, 96, 96, 12288, 1, 1, 1536, 384, 4, 144, 90},    {174.6, 96, 96, 12288, 1, 1, 1536, 768, 2, 88, 74},
    {174.6, 96, 96, 12288, 1, 1, 1536, 1536, 1, 44, 74},    {529.6, 105, 128, 20480, 1, 1, 2560, 640, 4, 138, 169},
    {529.6, 105, 128, 20480, 1, 1, 2240, 1120, 2, 98, 137}, {529.6, 105, 128, 20480, 1, 1, 2240, 2240, 1, 48, 140},
    {174.6, 96, 96, 12288, 8, 12, 1536, 384, 1, 153, 84},   {174.6, 96, 96, 12288, 8, 12, 1536, 768, 1, 149, 43},
    {174.6, 96, 96, 12288, 8, 12, 1536, 1536, 1, 141, 23},  {529.6, 105, 128, 20480, 8, 35, 2240, 560, 1, 171, 156},
    {529.6, 105, 128, 20480, 8, 35, 2240, 1120, 1, 167, 80}, {529.6, 105, 128, 20480, 8, 35, 2240, 2240, 1, 159, 42}};

// Korthikanti et al. 2022, Tables 3 and 5.
struct RecomputationRow {
  const char* name;
  int64_t layers, heads, hidden, t, p, chunks, devices, batch, micro_batch;
  double full_seconds, selective_seconds, mfu, hfu;
  ModelConfig model() const { return published_model(layers, heads, hidden); }
};
inline constexpr RecomputationRow kRecomputation[] = {
    {"22B", 48, 64, 6144, 8, 1, 1, 8, 4, 4, 1.42, 1.10, 41.5, 43.7},
    {"175B", 96, 96, 12288, 8, 8, 3, 64, 64, 1, 18.13, 13.75, 51.4, 52.8},
    {"530B", 105, 128, 20480, 8, 35, 3, 280, 280, 1, 49.05, 37.83, 56.0, 57.0},
    {"1T", 128, 160, 25600, 8, 64, 1, 512, 512, 1, 94.42, 71.49, 56.3, 57.0}};

}  // namespace triax
