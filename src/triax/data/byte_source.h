// A file as a stream of bytes, decompressed when it is gzip or zstd.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

namespace triax {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Up to `size` bytes into `out`; 0 at the end. Throws when the file cannot be read, is cut short or
  // damaged.
  virtual size_t read(char* out, size_t size) = 0;
  // Passes over that many bytes; throws at the end of the file.
  virtual void skip(uint64_t bytes);
  // Bytes of the stored file read so far.
  virtual uint64_t stored_bytes() const = 0;
  virtual bool is_compressed() const { return true; }
};

std::unique_ptr<ByteSource> open_byte_source(const std::filesystem::path& path);

}  // namespace triax
