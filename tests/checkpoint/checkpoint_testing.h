// Helpers of the checkpoint tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/tensor/tensor.h"

namespace triax::testing {

// The message of the Error that `action` throws; a test failure if it throws none.
inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return {};
}

inline void expect_contains(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

inline void write_raw(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::remove(path);  // replacing a file's content in place makes some file systems flush it
  std::ofstream(path, std::ios::binary) << bytes;
}

// A safetensors file from its JSON and its data, without any check.
inline std::string raw_safetensors(std::string_view json, std::string_view data = {}) {
  const uint64_t length = json.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file.append(json).append(data);
}

// A tensor whose element i is start + i.
inline OwnedTensor counting(const Shape& shape, float start = 0) {
  OwnedTensor tensor(shape, DType::f32);
  float value = start;
  for (float& x : tensor.span<float>()) x = value++;
  return tensor;
}

}  // namespace triax::testing
