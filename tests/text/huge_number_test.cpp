// tokenizer_config.json as transformers writes it: its "no limit" is an integer of 31 digits.
#include <gtest/gtest.h>

#include <fstream>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/text/tokenizer.h"

namespace triax {
namespace {

TEST(TokenizerConfig, IntegersBeyond64BitsDoNotMakeItUnreadable) {
  const TemporaryDirectory folder;
  const auto write = [&](const char* name, const char* text) { std::ofstream(folder.path() / name) << text; };
  write("vocab.json", R"({"a":0,"b":1,"ab":2,"<\"9\\>":3})");
  write("merges.txt", "#version: 0.2\na b\n");
  write("tokenizer_config.json",
        R"({"model_max_length":1000000000000000019884624838656,"other":[-12345678901234567890123, 0.1234567890123456789012,
            "12345678901234567890123456"],"eos_token":"<\"9\\>","add_prefix_space":true})");
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->special_tokens().eos, 3);
  write("tokenizer_config.json", R"({"model_max_length":1000000000000000019884624838656x})");
  EXPECT_THROW(load_tokenizer(folder.path()), Error);
}

}  // namespace
}  // namespace triax
