#include "triax/data/index_file.h"

#include <cstring>

#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/base/log.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

constexpr size_t kWord = 8;
constexpr size_t kUnchecked = 2 * kWord;  // magic and checksum; then the length of the description, and the numbers

uint64_t padded(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

}  // namespace

void warn_of_index(const fs::path& path, const char* why) { log_warning("{}: {}; the index is built again", path.string(), why); }

void write_index_file(const fs::path& path, std::string_view magic, std::span<const uint64_t> numbers,
                      const std::string& description, std::initializer_list<std::span<const std::byte>> arrays) {
  check(magic.size() == kWord, "an index file's magic has {} characters", kWord);
  const uint64_t length = description.size();
  const std::string text = description + std::string(padded(length) - length, '\0');
  const auto for_each_part = [&](auto&& use) {
    use(&length, kWord);
    use(numbers.data(), numbers.size_bytes());
    use(text.data(), text.size());
    for (const auto& array : arrays) use(array.data(), array.size());
  };
  Hasher hasher;
  for_each_part([&](const void* data, size_t bytes) { hasher.update(data, bytes); });
  const uint64_t checksum = hasher.digest();
  fs::create_directories(path.parent_path());
  FileWriter out(path);
  out.write(magic.data(), kWord);
  out.write(&checksum, kWord);
  for_each_part([&](const void* data, size_t bytes) { out.write(data, bytes); });
  out.commit();
}

std::optional<IndexFile> open_index_file(const fs::path& path, std::string_view magic, std::initializer_list<size_t> item_bytes,
                                         const std::string& description) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  IndexFile index;
  index.file = MappedFile(path);
  index.file.populate();
  const auto bytes = index.file.bytes();
  const auto refuse = [&](const char* why) {
    warn_of_index(path, why);
    return std::nullopt;
  };
  const size_t header = kUnchecked + kWord * (1 + item_bytes.size());
  if (bytes.size() < header) return refuse("is cut short");
  if (std::memcmp(bytes.data(), magic.data(), kWord) != 0) return refuse("is not an index of triax");
  uint64_t checksum = 0, length = 0;
  std::memcpy(&checksum, bytes.data() + kWord, kWord);
  std::memcpy(&length, bytes.data() + kUnchecked, kWord);
  index.numbers.resize(item_bytes.size());
  std::memcpy(index.numbers.data(), bytes.data() + kUnchecked + kWord, kWord * index.numbers.size());
  uint64_t room = bytes.size() - header;
  const auto take = [&](uint64_t count, uint64_t item) {
    const bool fits = item == 0 || count <= room / item;
    if (fits) room -= count * item;
    return fits;
  };
  bool fits = length <= room && take(padded(length), 1);
  for (size_t i = 0; fits && i < item_bytes.size(); ++i) fits = take(index.numbers[i], item_bytes.begin()[i]);
  if (!fits || room != 0) return refuse("is cut short or damaged");
  if (hash64(bytes.data() + kUnchecked, bytes.size() - kUnchecked) != checksum) return refuse("is damaged (wrong checksum)");
  if (index.file.text().substr(header, length) != description) return refuse("is the index of something else");
  index.arrays = bytes.data() + header + padded(length);
  return index;
}

}  // namespace triax
