// The subcommands of `triax`, one source file each. add_X_command() declares the options of X and what
// runs when it is chosen; mistakes of the user are thrown as triax::Error and shown by main().
#pragma once

#include <CLI/CLI.hpp>

namespace triax::cli {

void add_bench_command(CLI::App& app);
void add_checkpoint_command(CLI::App& app);
void add_cite_command(CLI::App& app);
void add_completion_command(CLI::App& app);
void add_config_command(CLI::App& app);
void add_convert_command(CLI::App& app);
void add_finetune_command(CLI::App& app);
void add_generate_command(CLI::App& app);
void add_info_command(CLI::App& app);
void add_pack_command(CLI::App& app);
void add_plan_command(CLI::App& app);
void add_predict_command(CLI::App& app);
void add_report_command(CLI::App& app);
void add_score_command(CLI::App& app);
void add_study_command(CLI::App& app);
void add_tokenizer_command(CLI::App& app);
void add_train_command(CLI::App& app);
void add_transfer_vocabulary_command(CLI::App& app);

}  // namespace triax::cli
