// The parts of `triax bench` that have a source file of their own.
#pragma once

#include "triax/cli/command.h"

namespace triax::cli {

void add_bench_finetune_command(Command bench);
void add_bench_kernels_command(Command bench);

}  // namespace triax::cli
