#include <cstdio>
#include <exception>

#include "triax/cli/commands.h"

int main(int argc, char** argv) {
  CLI::App app{"triax: trains large language models on CPU clusters and GPUs, without Python", "triax"};
  app.set_version_flag("--version", "triax " TRIAX_VERSION);
  app.require_subcommand(1);
  triax::cli::add_bench_command(app);
  triax::cli::add_tokenizer_command(app);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "triax: error: %s\n", error.what());
    return 1;
  }
}
