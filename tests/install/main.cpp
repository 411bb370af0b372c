// Reads a configuration and multiplies two matrices through the installed headers and libraries.
#include <triax/base/config.h>
#include <triax/kernels/peak.h>
#include <triax/train/run_config.h>

#include <cstdio>

int main(int argc, char** argv) {
  triax::RunConfig run;
  triax::ConfigFields fields(run);
  for (int i = 1; i < argc; ++i) fields.load_file(argv[i]);
  run.resolve();
  const triax::GemmPeak peak = triax::measure_gemm_peak({}, 0.02);
  std::printf("%lld steps, %s\n", static_cast<long long>(run.train.steps), peak.f32 > 1e6 ? "computes" : "does not compute");
}
