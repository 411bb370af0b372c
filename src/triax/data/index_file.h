// The file of an index that is built once and mapped by all ranks of a host: a header, the description of what it is
// the index of (padded to 8 bytes), arrays. Whatever is wrong with it, it is built again.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "triax/base/file.h"

namespace triax {

struct IndexFile {
  MappedFile file;
  std::vector<uint64_t> numbers;
  const std::byte* arrays = nullptr;  // one behind the other
};

// `magic`: 8 characters. `numbers`: counts of the arrays and what else the reader is to know.
void write_index_file(const std::filesystem::path& path, std::string_view magic, std::span<const uint64_t> numbers,
                      const std::string& description, std::initializer_list<std::span<const std::byte>> arrays);

// `item_bytes`: for each number the size of one item of the array it counts; 0 when it counts none. Absent when
// there is no file, and with a warning when it is not whole or the index of something else.
std::optional<IndexFile> open_index_file(const std::filesystem::path& path, std::string_view magic,
                                         std::initializer_list<size_t> item_bytes, const std::string& description);
void warn_of_index(const std::filesystem::path& path, const char* why);

}  // namespace triax
