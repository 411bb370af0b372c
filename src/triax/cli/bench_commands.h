// The parts of `triax bench` that have a source file of their own.
#pragma once

#include <CLI/CLI.hpp>

namespace triax::cli {

void add_bench_finetune_command(CLI::App& bench);

}  // namespace triax::cli
