// triax checkpoint: look at checkpoints, check them, change the number of their files.
#include "triax/checkpoint/checkpoint.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "triax/base/error.h"
#include "triax/base/progress.h"
#include "triax/base/text.h"
#include "triax/checkpoint/elements.h"
#include "triax/checkpoint/reshard.h"
#include "triax/checkpoint/safetensors.h"
#include "triax/cli/commands.h"

namespace triax::cli {
namespace {

namespace fs = std::filesystem;

// Where the checkpoints of a run are: the directory itself or its checkpoints/.
fs::path root_of(const fs::path& path) {
  check(fs::is_directory(path), "{}: there is no such directory", path.string());
  return list_checkpoints(path).empty() && fs::is_directory(path / "checkpoints") ? path / "checkpoints" : path;
}

struct TensorRow {
  std::string name, dtype, shape, bytes, pieces, norm;
};

void print_table(const std::vector<TensorRow>& rows, bool norms) {
  std::array<size_t, 5> width{4, 5, 5, 4, 6};
  for (const TensorRow& row : rows) {
    const std::array<size_t, 5> sizes{row.name.size(), row.dtype.size(), row.shape.size(), row.bytes.size(), row.pieces.size()};
    for (size_t i = 0; i < width.size(); ++i) width[i] = std::max(width[i], sizes[i]);
  }
  const auto print = [&](const TensorRow& row) {
    fmt::print("{:<{}}  {:<{}}  {:<{}}  {:>{}}  {:>{}}{}{}\n", row.name, width[0], row.dtype, width[1],
               row.shape, width[2], row.bytes, width[3], row.pieces, width[4], norms ? "  " : "",
               norms ? fmt::format("{:>12}", row.norm) : "");
  };
  print({"name", "dtype", "shape", "size", "pieces", "norm"});
  for (const TensorRow& row : rows) print(row);
}

TensorRow row_of(const std::string& name, DType dtype, const Shape& shape, size_t pieces) {
  const double bytes = static_cast<double>(shape.numel()) * static_cast<double>(size_of(dtype));
  return {name, std::string(name_of(dtype)), shape.to_string(), format_bytes(bytes), std::to_string(pieces), "-"};
}

// The Euclidean norm of a stored tensor, read a stretch at a time; "-" when it holds no floats.
std::string norm_of(const CheckpointReader& reader, const StoredTensor& tensor) {
  if (!can_convert(tensor.dtype, DType::f32)) return "-";
  constexpr int64_t kStretch = int64_t{1} << 20;
  const int64_t numel = tensor.shape.numel();
  const OwnedTensor stretch(Shape{std::min(numel, kStretch)}, tensor.dtype);
  Region region = whole_region(tensor.shape);
  double sum = 0;
  for (region.begin = 0; region.begin < numel; region.begin = region.end) {
    region.end = std::min(numel, region.begin + kStretch);
    reader.read(tensor.name, region, stretch.view().narrow(0, 0, region.numel()));
    sum += sum_of_squares(stretch.view().raw(), tensor.dtype, region.numel());
  }
  return fmt::format("{:.6g}", std::sqrt(sum));
}

void inspect_safetensors(const fs::path& path, bool norms) {
  const SafetensorsFile file(path);
  std::vector<TensorRow> rows;
  int64_t elements = 0;
  for (const SafetensorsEntry& entry : file.tensors()) {
    rows.push_back(row_of(entry.name, entry.dtype, entry.shape, 1));
    elements += entry.shape.numel();
    if (norms && can_convert(entry.dtype, DType::f32))
      rows.back().norm = fmt::format("{:.6g}", std::sqrt(sum_of_squares(file.bytes(entry).data(), entry.dtype, entry.shape.numel())));
  }
  fmt::print("{}: {} tensors, {} elements, {}\n", path.string(), rows.size(), format_count(static_cast<double>(elements)),
             format_bytes(static_cast<double>(file.file_bytes())));
  for (const auto& [key, value] : file.metadata()) fmt::print("{}: {}\n", key, value);
  print_table(rows, norms);
}

struct InspectOptions {
  std::string path;
  bool norms = false, state = false;
};

void inspect(const InspectOptions& options) {
  if (fs::is_regular_file(options.path)) {
    check(!options.state, "{}: a safetensors file has no training state", options.path);
    return inspect_safetensors(options.path, options.norms);
  }
  const CheckpointReader reader(resolve_checkpoint(options.path));
  if (options.state) {
    fmt::print("{}\n", reader.state());
    return;
  }
  const CheckpointIndex& index = reader.index();
  Progress progress("reading", options.norms ? index.total_bytes() : 0);
  std::vector<TensorRow> rows;
  int64_t elements = 0;
  for (const StoredTensor& tensor : index.tensors) {
    rows.push_back(row_of(tensor.name, tensor.dtype, tensor.shape, tensor.pieces.size()));
    if (options.norms) {
      rows.back().norm = norm_of(reader, tensor);
      progress.add(tensor.bytes());
    }
    elements += tensor.shape.numel();
  }
  fmt::print("{}: step {}, {} tensors, {} elements, {} in {} files\n", reader.path().string(), reader.step(),
             rows.size(), format_count(static_cast<double>(elements)),
             format_bytes(static_cast<double>(index.total_bytes())), index.files.size());
  print_table(rows, options.norms);
}

// Checks every byte of one checkpoint and says so.
void verify_one(const fs::path& path) {
  const CheckpointReader reader(path);
  {
    Progress progress("checking", reader.index().total_bytes());
    reader.verify([&](uint64_t done) { progress.update(done); });
  }
  fmt::print("step {}: whole, {} tensors, {} in {} files, every checksum matches\n", reader.step(),
             reader.index().tensors.size(), format_bytes(static_cast<double>(reader.index().total_bytes())),
             reader.index().files.size());
}

void verify(const fs::path& given) {
  const fs::path path = root_of(given);
  const std::vector<CheckpointEntry> all = list_checkpoints(path);
  if (all.empty()) return verify_one(path);
  int damaged = 0;
  for (const CheckpointEntry& entry : all) try {
      verify_one(entry.path);
    } catch (const Error& error) {
      ++damaged;
      fmt::print("step {}: DAMAGED: {}\n", entry.step, error.what());
    }
  check(damaged == 0, "{}: {} of {} checkpoints are damaged", path.string(), damaged, all.size());
}

void list(const fs::path& given) {
  const fs::path root = root_of(given);
  const std::vector<CheckpointEntry> all = list_checkpoints(root);
  check(!all.empty(), "{}: there are no checkpoints in it (directories named step-00001000)", root.string());
  for (const CheckpointEntry& entry : all) try {
      check_checkpoint_structure(entry.path);
      const CheckpointReader reader(entry.path);
      fmt::print("{}  {:>10}  {} files  {} tensors\n", entry.path.filename().string(),
                 format_bytes(static_cast<double>(reader.index().total_bytes())), reader.index().files.size(),
                 reader.index().tensors.size());
    } catch (const Error& error) {
      fmt::print("{}  DAMAGED: {}\n", entry.path.filename().string(), error.what());
    }
}

struct ReshardOptions {
  std::string path, output;
  int files = 1;
};

void reshard(const ReshardOptions& options) {
  const CheckpointReader reader(resolve_checkpoint(options.path));
  fs::path written;
  {
    Progress progress("writing", reader.index().total_bytes());
    written = reshard_checkpoint(reader, options.output, options.files, [&](uint64_t done) { progress.update(done); });
  }
  fmt::print("wrote {} with {} files\n", written.string(), options.files);
}

}  // namespace

void add_checkpoint_command(Command app) {
  Command command = app.add_subcommand("checkpoint", "Look at training checkpoints, check them, change the number of their files");
  command.require_subcommand();
  command.footer("Example: triax checkpoint verify runs/demo/checkpoints");

  Command list_command = command.add_subcommand("list", "The checkpoints of a run, and which are whole");
  auto root = std::make_shared<std::string>();
  list_command.add_option("DIR", *root, "A run, or the directory with its step-... directories").required();
  list_command.footer("Example: triax checkpoint list runs/demo/checkpoints");
  list_command.callback([root] { list(*root); });

  Command inspect_command = command.add_subcommand("inspect", "The tensors of a checkpoint or of a safetensors file");
  auto inspected = std::make_shared<InspectOptions>();
  inspect_command.add_option("PATH", inspected->path, "A checkpoint, a run or a directory of checkpoints (the newest whole one), or a .safetensors file").required();
  inspect_command.add_flag("--norms", inspected->norms, "Read every tensor and show its Euclidean norm");
  inspect_command.add_flag("--state", inspected->state, "Show the training state, as JSON, and nothing else");
  inspect_command.footer("Example: triax checkpoint inspect runs/demo/checkpoints/step-00001000 --norms");
  inspect_command.callback([inspected] { inspect(*inspected); });

  Command verify_command = command.add_subcommand("verify", "Check every byte against the checksums; exit status 1 when anything is damaged");
  auto verified = std::make_shared<std::string>();
  verify_command.add_option("DIR", *verified, "A checkpoint, or a run or a directory of checkpoints to check them all").required();
  verify_command.footer("Example: triax checkpoint verify runs/demo/checkpoints");
  verify_command.callback([verified] { verify(*verified); });

  Command reshard_command = command.add_subcommand("reshard", "Write a checkpoint again with another number of files, every tensor whole in one of them");
  auto resharded = std::make_shared<ReshardOptions>();
  reshard_command.add_option("PATH", resharded->path, "A checkpoint, or a run or a directory of checkpoints (the newest whole one)").required();
  reshard_command.add_option("OUTPUT", resharded->output, "Directory in which step-... is written; may be that of PATH").required();
  reshard_command.add_option("--files", resharded->files, "Number of files").show_default();
  reshard_command.footer("Example: triax checkpoint reshard runs/demo/checkpoints one-file --files 1");
  reshard_command.callback([resharded] { reshard(*resharded); });
}

}  // namespace triax::cli
