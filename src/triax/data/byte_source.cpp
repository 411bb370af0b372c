#include "triax/data/byte_source.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "triax/base/error.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

constexpr size_t kChunk = size_t{256} << 10;

class PlainSource final : public ByteSource {
 public:
  explicit PlainSource(const fs::path& path) : path_(path) {
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    check(fd_ >= 0, "cannot open {}: {}", path.string(), std::strerror(errno));
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  ~PlainSource() override { ::close(fd_); }
  PlainSource(const PlainSource&) = delete;
  PlainSource& operator=(const PlainSource&) = delete;

  size_t read(char* out, size_t size) override {
    for (;;) {
      const ssize_t n = ::read(fd_, out, size);
      if (n < 0 && errno == EINTR) continue;
      check(n >= 0, "cannot read {}: {}", path_.string(), std::strerror(errno));
      bytes_ += static_cast<uint64_t>(n);
      return static_cast<size_t>(n);
    }
  }
  void skip(uint64_t bytes) override {
    std::error_code error;
    const auto size = fs::file_size(path_, error);  // none for a pipe
    if (error || !fs::is_regular_file(path_, error)) return ByteSource::skip(bytes);
    check(bytes <= size - std::min<uint64_t>(size, bytes_), "{}: ends at byte {}, but {} were there before; it has changed: start again",
          path_.string(), size, bytes_ + bytes);
    check(::lseek(fd_, static_cast<off_t>(bytes), SEEK_CUR) >= 0, "cannot read {}: {}", path_.string(), std::strerror(errno));
    bytes_ += bytes;
  }
  uint64_t stored_bytes() const override { return bytes_; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  int fd_ = -1;
  uint64_t bytes_ = 0;
};

// The stored bytes of a file in chunks, beginning with those that told its format.
class Chunks {
 public:
  Chunks(std::unique_ptr<PlainSource> file, std::string_view first)
      : file_(std::move(file)), buffer_(kChunk), size_(first.size()) {
    std::memcpy(buffer_.data(), first.data(), first.size());
  }
  // False at the end of the file.
  bool refill() {
    size_ = file_->read(buffer_.data(), buffer_.size());
    return size_ > 0;
  }
  char* data() { return buffer_.data(); }
  size_t size() const { return size_; }
  uint64_t stored_bytes() const { return file_->stored_bytes(); }
  std::string name() const { return file_->path().string(); }

 private:
  std::unique_ptr<PlainSource> file_;
  std::vector<char> buffer_;
  size_t size_;
};

// Plain bytes, with the few that were read to tell the format put back in front.
class RawSource final : public ByteSource {
 public:
  RawSource(std::unique_ptr<PlainSource> file, std::string_view first) : file_(std::move(file)), first_(first) {}
  size_t read(char* out, size_t size) override {
    if (first_.empty()) return file_->read(out, size);
    const size_t n = std::min(size, first_.size());
    std::memcpy(out, first_.data(), n);
    first_.erase(0, n);
    return n;
  }
  void skip(uint64_t bytes) override {
    const uint64_t n = std::min<uint64_t>(bytes, first_.size());
    first_.erase(0, n);
    if (bytes > n) file_->skip(bytes - n);
  }
  bool is_compressed() const override { return false; }
  uint64_t stored_bytes() const override { return file_->stored_bytes(); }

 private:
  std::unique_ptr<PlainSource> file_;
  std::string first_;
};

class GzipSource final : public ByteSource {
 public:
  GzipSource(std::unique_ptr<PlainSource> file, std::string_view first) : in_(std::move(file), first) {
    stream_.next_in = reinterpret_cast<Bytef*>(in_.data());
    stream_.avail_in = static_cast<uInt>(in_.size());
    check(::inflateInit2(&stream_, 16 + MAX_WBITS) == Z_OK, "cannot set up gzip decompression of {}", in_.name());
  }
  ~GzipSource() override { ::inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  size_t read(char* out, size_t size) override {
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = static_cast<uInt>(std::min<size_t>(size, size_t{1} << 30));
    const size_t room = stream_.avail_out;
    while (stream_.avail_out == room) {
      if (stream_.avail_in == 0 && !refill()) return 0;
      const int status = ::inflate(&stream_, Z_NO_FLUSH);
      if (status == Z_STREAM_END) {
        // A gzip file may be several members, one after the other.
        between_members_ = true;
        ::inflateReset(&stream_);
      } else if (status == Z_OK) {
        between_members_ = false;
      } else if (status != Z_BUF_ERROR) {
        fail("{}: the gzip data is damaged near byte {} ({}); get the file again", in_.name(),
             in_.stored_bytes() - stream_.avail_in, stream_.msg ? stream_.msg : "unknown block");
      }
    }
    return room - stream_.avail_out;
  }
  uint64_t stored_bytes() const override { return in_.stored_bytes() - stream_.avail_in; }

 private:
  bool refill() {
    if (!in_.refill()) {
      check(between_members_, "{}: the gzip data ends early, after {} bytes; the file is cut short: get it again",
            in_.name(), in_.stored_bytes());
      return false;
    }
    stream_.next_in = reinterpret_cast<Bytef*>(in_.data());
    stream_.avail_in = static_cast<uInt>(in_.size());
    return true;
  }
  Chunks in_;
  z_stream stream_{};
  bool between_members_ = false;
};

class ZstdSource final : public ByteSource {
 public:
  ZstdSource(std::unique_ptr<PlainSource> file, std::string_view first)
      : in_(std::move(file), first), context_(::ZSTD_createDCtx()), input_{in_.data(), in_.size(), 0} {
    check(context_ != nullptr, "cannot set up zstd decompression of {}", in_.name());
  }
  ~ZstdSource() override { ::ZSTD_freeDCtx(context_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

  size_t read(char* out, size_t size) override {
    ZSTD_outBuffer output{out, size, 0};
    while (output.pos == 0) {
      if (input_.pos == input_.size) {
        // The decoder may still hold output that did not fit the last time.
        if (!maybe_more_output_ && !refill()) return 0;
      }
      const size_t status = ::ZSTD_decompressStream(context_, &output, &input_);
      check(!::ZSTD_isError(status), "{}: the zstd data is damaged near byte {} ({}); get the file again", in_.name(),
            stored_bytes(), ::ZSTD_getErrorName(status));
      between_frames_ = status == 0;
      maybe_more_output_ = output.pos == output.size && !between_frames_;
    }
    return output.pos;
  }
  uint64_t stored_bytes() const override { return in_.stored_bytes() - (input_.size - input_.pos); }

 private:
  bool refill() {
    if (!in_.refill()) {
      check(between_frames_, "{}: the zstd data ends early, after {} bytes; the file is cut short: get it again",
            in_.name(), in_.stored_bytes());
      return false;
    }
    input_ = {in_.data(), in_.size(), 0};
    return true;
  }
  Chunks in_;
  ZSTD_DCtx* context_;
  ZSTD_inBuffer input_;
  bool between_frames_ = false;
  bool maybe_more_output_ = false;
};

bool begins_zstd(std::string_view bytes) {
  if (bytes.size() < 4) return false;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const bool frame = byte(0) == 0x28 && byte(1) == 0xB5 && byte(2) == 0x2F && byte(3) == 0xFD;
  const bool skippable = (byte(0) & 0xF0) == 0x50 && byte(1) == 0x2A && byte(2) == 0x4D && byte(3) == 0x18;
  return frame || skippable;
}

bool begins_gzip(std::string_view bytes) {
  return bytes.size() >= 2 && bytes[0] == '\x1f' && static_cast<unsigned char>(bytes[1]) == 0x8b;
}

}  // namespace

void ByteSource::skip(uint64_t bytes) {
  std::vector<char> buffer(std::min<uint64_t>(bytes, kChunk));
  for (uint64_t left = bytes; left > 0;) {
    const size_t n = read(buffer.data(), std::min<uint64_t>(left, buffer.size()));
    check(n > 0, "the file ends {} bytes before the place where reading is to go on; it has changed: start again", left);
    left -= n;
  }
}

std::unique_ptr<ByteSource> open_byte_source(const fs::path& path) {
  check(!fs::is_directory(path), "{} is a folder; give the files in it", path.string());
  auto file = std::make_unique<PlainSource>(path);
  char first[4];
  size_t size = 0;
  while (size < sizeof first) {
    const size_t n = file->read(first + size, sizeof first - size);
    if (n == 0) break;
    size += n;
  }
  const std::string_view bytes(first, size);
  if (begins_gzip(bytes)) return std::make_unique<GzipSource>(std::move(file), bytes);
  if (begins_zstd(bytes)) return std::make_unique<ZstdSource>(std::move(file), bytes);
  return std::make_unique<RawSource>(std::move(file), bytes);
}

}  // namespace triax
