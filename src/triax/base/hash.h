// Fast 64-bit content hashes (XXH3) for checksums and cache keys; not for security.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace triax {

uint64_t hash64(const void* data, size_t bytes);
inline uint64_t hash64(std::string_view text) { return hash64(text.data(), text.size()); }
std::string hex64(uint64_t value);  // 16 lower-case digits

// The same hash over data that arrives in pieces.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void update(const void* data, size_t bytes);
  uint64_t digest() const;

 private:
  void* state_;
};

}  // namespace triax
