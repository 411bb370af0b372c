// The subcommands of `triax`, one source file each. add_X_command() declares the options of X and what
// runs when it is chosen; mistakes of the user are thrown as triax::Error and shown by main().
#pragma once

#include "triax/cli/command.h"

namespace triax::cli {

void add_bench_command(Command app);
void add_checkpoint_command(Command app);
void add_cite_command(Command app);
void add_cite_stance_command(Command cite);  // `triax cite stance`
void add_completion_command(Command app);
void add_config_command(Command app);
void add_convert_command(Command app);
void add_finetune_command(Command app);
void add_generate_command(Command app);
void add_info_command(Command app);
void add_pack_command(Command app);
void add_plan_command(Command app);
void add_predict_command(Command app);
void add_report_command(Command app);
void add_score_command(Command app);
void add_study_command(Command app);
void add_tokenizer_command(Command app);
void add_train_command(Command app);
void add_transfer_vocabulary_command(Command app);

}  // namespace triax::cli
