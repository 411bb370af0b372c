// Files: whole reads, atomic durable writes, read-only memory maps.
// Every function throws triax::Error with the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace triax {

std::string read_file(const std::filesystem::path& path);

// Writes to `path`.tmp-<pid>, fsyncs, renames over `path`, fsyncs the folder: after a crash the old
// or the new content is there, never a mixture.
void write_file_atomic(const std::filesystem::path& path, std::string_view content);

// Flush a file's or a directory's data and metadata to the disk.
void fsync_path(const std::filesystem::path& path);

// Renames a finished temporary to its final name and makes that durable. An existing file is
// replaced; an existing directory is an error.
void rename_durable(const std::filesystem::path& from, const std::filesystem::path& to);

// Sequential binary output through a large buffer. Nothing is visible at `path` before commit():
// until then the data is in `path`.tmp-<pid>, which the destructor removes.
class FileWriter {
 public:
  explicit FileWriter(std::filesystem::path path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, size_t bytes);
  uint64_t bytes_written() const { return bytes_written_; }
  // Flush, fsync, rename to the final name.
  void commit();

 private:
  void flush();
  std::filesystem::path path_, temporary_;
  std::string buffer_;
  uint64_t bytes_written_ = 0;
  int fd_ = -1;
};

// A whole file mapped read-only. Empty files give an empty span.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  size_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }
  // Maps all pages now, in one go, rather than one by one as they are touched: for files that will be
  // read whole, or at random. A hint; never fails.
  void populate() const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// A file read at any place, from any thread, without being mapped: a page fault for every few tokens
// would cost more than the read, and a file cut short in the meantime is an Error and not a crash.
class RandomAccessFile {
 public:
  RandomAccessFile() = default;
  explicit RandomAccessFile(const std::filesystem::path& path);
  ~RandomAccessFile();
  RandomAccessFile(RandomAccessFile&& other) noexcept;
  RandomAccessFile& operator=(RandomAccessFile&& other) noexcept;

  // Bytes [offset, offset + bytes).
  void read(uint64_t offset, void* out, size_t bytes) const;
  uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  uint64_t size_ = 0;
  int fd_ = -1;
};

// A new empty directory under $TMPDIR, removed with its content by the destructor.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(std::string_view prefix = "triax");
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace triax
