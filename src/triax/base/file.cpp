#include "triax/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "triax/base/error.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

[[noreturn]] void fail_errno(const char* what, const fs::path& path) {
  const int code = errno;
  fail("{} {}: {}", what, path.string(), std::strerror(code));
}

fs::path temporary_name(const fs::path& path) {
  return path.string() + ".tmp-" + std::to_string(::getpid());
}

void write_all(int fd, const char* data, size_t bytes, const fs::path& path) {
  while (bytes > 0) {
    const ssize_t n = ::write(fd, data, bytes);
    if (n < 0) {
      if (errno == EINTR) continue;
      fail_errno("cannot write", path);
    }
    data += n;
    bytes -= static_cast<size_t>(n);
  }
}

fs::path parent_or_here(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

}  // namespace

std::string read_file(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_errno("cannot open", path);
  std::string content;
  struct stat info{};
  if (::fstat(fd, &info) == 0 && info.st_size > 0) content.reserve(static_cast<size_t>(info.st_size));
  char block[65536];
  for (;;) {
    const ssize_t n = ::read(fd, block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int code = errno;
      ::close(fd);
      errno = code;
      fail_errno("cannot read", path);
    }
    if (n == 0) break;
    content.append(block, static_cast<size_t>(n));
  }
  ::close(fd);
  return content;
}

void fsync_path(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_errno("cannot open", path);
  const int status = ::fsync(fd);
  const int code = errno;
  ::close(fd);
  errno = code;
  // Some file systems refuse fsync on a directory; there is nothing more to do there.
  if (status != 0 && code != EINVAL && code != ENOTSUP) fail_errno("cannot fsync", path);
}

void rename_durable(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    const int code = errno;
    fail("cannot rename {} to {}: {}", from.string(), to.string(), std::strerror(code));
  }
  fsync_path(parent_or_here(to));
}

void write_file_atomic(const fs::path& path, std::string_view content) {
  FileWriter writer(path);
  writer.write(content.data(), content.size());
  writer.commit();
}

FileWriter::FileWriter(fs::path path) : path_(std::move(path)), temporary_(temporary_name(path_)) {
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) fail_errno("cannot create", temporary_);
  buffer_.reserve(kBufferBytes);
}

FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void FileWriter::flush() {
  write_all(fd_, buffer_.data(), buffer_.size(), temporary_);
  buffer_.clear();
}

void FileWriter::write(const void* data, size_t bytes) {
  bytes_written_ += bytes;
  if (buffer_.size() + bytes > kBufferBytes) flush();
  if (bytes >= kBufferBytes) {
    write_all(fd_, static_cast<const char*>(data), bytes, temporary_);
  } else {
    buffer_.append(static_cast<const char*>(data), bytes);
  }
}

void FileWriter::commit() {
  flush();
  if (::fsync(fd_) != 0) fail_errno("cannot fsync", temporary_);
  if (::close(std::exchange(fd_, -1)) != 0) fail_errno("cannot close", temporary_);
  rename_durable(temporary_, path_);
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_errno("cannot open", path);
  struct stat info{};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    fail("cannot map {}: not a regular file", path.string());
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) {
    void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    const int code = errno;
    ::close(fd);
    errno = code;
    if (mapped == MAP_FAILED) fail_errno("cannot map", path);
    data_ = static_cast<const std::byte*>(mapped);
  } else {
    ::close(fd);
  }
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::populate() const {
#ifdef MADV_POPULATE_READ
  if (data_) ::madvise(const_cast<std::byte*>(data_), size_, MADV_POPULATE_READ);
#endif
}

RandomAccessFile::RandomAccessFile(const fs::path& path) : path_(path) {
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) fail_errno("cannot open", path);
  struct stat info{};
  if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(std::exchange(fd_, -1));
    fail("cannot read {}: not a regular file", path.string());
  }
  size_ = static_cast<uint64_t>(info.st_size);
}

RandomAccessFile::~RandomAccessFile() {
  if (fd_ >= 0) ::close(fd_);
}

RandomAccessFile::RandomAccessFile(RandomAccessFile&& other) noexcept { *this = std::move(other); }

RandomAccessFile& RandomAccessFile::operator=(RandomAccessFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(size_, other.size_);
  std::swap(fd_, other.fd_);
  return *this;
}

void RandomAccessFile::read(uint64_t offset, void* out, size_t bytes) const {
  auto* to = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t n = ::pread(fd_, to, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno("cannot read", path_);
    check(n > 0, "{}: ends at byte {}, but had {} bytes when it was opened; it was cut short while in use",
          path_.string(), offset, size_);
    to += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<size_t>(n);
  }
}

TemporaryDirectory::TemporaryDirectory(std::string_view prefix) {
  std::string pattern = (fs::temp_directory_path() / prefix).string() + "-XXXXXX";
  if (!::mkdtemp(pattern.data())) fail_errno("cannot create directory", pattern);
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace triax
