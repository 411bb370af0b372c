// What the readers of task files share: whole files as text, lines, and what becomes of bad records.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "triax/data/document_reader.h"

namespace triax::tasks {

struct ReadOptions {
  // Bad records are left out, counted and the first few named; otherwise the first one is an Error.
  bool skip_bad = false;
};

// Throws `message` ("file:line: what is wrong"), or counts it when bad records are skipped.
void refuse(const ReadOptions& options, BadRecords& bad, std::string message);

// Warns of what was left out of `path`: the first few by name, and how many in all.
void warn_left_out(const BadRecords& bad, const std::string& path);

// The content of a file, decompressed when it is gzip or zstd, without a byte order mark.
std::string read_text(const std::filesystem::path& path);

// Every line of `text`, without its "\n" or "\r\n"; lines count from 1.
void for_each_line(std::string_view text, const std::function<void(std::string_view, uint64_t)>& body);

// "path:line"
std::string place(const std::filesystem::path& path, uint64_t line);

// A few bytes of a text for a message, cut between characters, with "..." when it goes on.
std::string excerpt(std::string_view text, size_t most = 60);

}  // namespace triax::tasks
