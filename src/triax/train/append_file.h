// A file that only grows: every write is one write(2) at the end, so that what was written is there
// after a crash and a reader that follows the file sees whole records.
#pragma once

#include <filesystem>
#include <string_view>

namespace triax {

class AppendFile {
 public:
  // Opens or creates; Error with the path and the system's reason.
  explicit AppendFile(std::filesystem::path path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;
  void append(std::string_view record);

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace triax
