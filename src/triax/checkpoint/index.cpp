#include "triax/checkpoint/index.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <utility>

#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/checkpoint/json_text.h"
#include "triax/checkpoint/safetensors.h"

namespace triax {
namespace {

// Pieces of one tensor must neither overlap nor leave a hole. Pieces of the same box are laid side by
// side; different boxes must not meet. Disjoint pieces whose sizes add up to the tensor's then cover it.
void check_cover(const StoredTensor& tensor, const std::string& where) {
  std::vector<const StoredPiece*> sorted;
  for (const StoredPiece& piece : tensor.pieces) sorted.push_back(&piece);
  const auto box_before = [](const Region& a, const Region& b) {
    return std::lexicographical_compare(a.offset.begin(), a.offset.end(), b.offset.begin(), b.offset.end()) ||
           (a.offset == b.offset &&
            std::lexicographical_compare(a.shape.begin(), a.shape.end(), b.shape.begin(), b.shape.end()));
  };
  std::sort(sorted.begin(), sorted.end(), [&](const StoredPiece* a, const StoredPiece* b) {
    if (box_before(a->region, b->region)) return true;
    if (box_before(b->region, a->region)) return false;
    return a->region.begin < b->region.begin;
  });
  const auto refuse_overlap = [&](const Region& a, const Region& b) {
    fail("{}: tensor {} has pieces {} and {}, which share elements; of several copies only one may be saved",
         where, quoted_name(tensor.name), a.to_string(), b.to_string());
  };
  int64_t covered = 0;
  std::vector<const Region*> boxes;
  for (const StoredPiece* piece : sorted) {
    const Region& region = piece->region;
    if (region.numel() == 0) continue;
    covered += region.numel();
    const bool same_box =
        !boxes.empty() && boxes.back()->offset == region.offset && boxes.back()->shape == region.shape;
    if (same_box) {
      if (region.begin < boxes.back()->end) refuse_overlap(*boxes.back(), region);
      boxes.back() = &region;
    } else {
      const Region box = box_region(region.offset, region.shape);
      for (const Region* other : boxes)
        if (overlap_numel(box, box_region(other->offset, other->shape)) > 0) refuse_overlap(*other, region);
      boxes.push_back(&region);
    }
  }
  check(covered == tensor.shape.numel(), "{}: the pieces of tensor {} {} hold {} elements of {}: some are missing",
        where, quoted_name(tensor.name), tensor.shape.to_string(), covered, tensor.shape.numel());
}

}  // namespace

uint64_t CheckpointIndex::total_bytes() const {
  uint64_t bytes = 0;
  for (const StoredTensor& tensor : tensors) bytes += tensor.bytes();
  return bytes;
}

const StoredTensor* CheckpointIndex::find(std::string_view name) const {
  const auto found = std::lower_bound(tensors.begin(), tensors.end(), name,
                                      [](const StoredTensor& t, std::string_view n) { return t.name < n; });
  return found != tensors.end() && found->name == name ? &*found : nullptr;
}

std::string piece_key(const StoredTensor& tensor, const Region& region) {
  return region == whole_region(tensor.shape) ? tensor.name : tensor.name + region.to_string();
}

std::string to_json(const CheckpointIndex& index) {
  std::string json = fmt::format(
      "{{\"format\":\"triax-checkpoint\",\"version\":1,\"step\":{},\n\"state\":{},\n\"total_bytes\":{},"
      "\"checksum_block\":{},\n\"files\":[",
      index.step, index.state, index.total_bytes(), index.checksum_block);
  auto out = std::back_inserter(json);
  for (const StoredFile& file : index.files)
    fmt::format_to(out, "{}\n{{\"name\":{},\"bytes\":{},\"header_checksum\":\"{}\"}}",
                   &file == index.files.data() ? "" : ",", json_string(file.name), file.bytes,
                   hex64(file.header_checksum));
  json += "],\n\"tensors\":{";
  for (const StoredTensor& tensor : index.tensors) {
    fmt::format_to(out, "{}\n{}:{{\"dtype\":\"{}\",\"shape\":{},\"pieces\":[",
                   &tensor == index.tensors.data() ? "" : ",", json_string(tensor.name),
                   safetensors_name(tensor.dtype), json_list(tensor.shape));
    for (const StoredPiece& piece : tensor.pieces) {
      fmt::format_to(out, "{}\n {{\"file\":{},\"offset\":{},\"shape\":{},\"range\":[{},{}],\"checksums\":[",
                     &piece == tensor.pieces.data() ? "" : ",", piece.file, json_list(piece.region.offset),
                     json_list(piece.region.shape), piece.region.begin, piece.region.end);
      for (size_t i = 0; i < piece.checksums.size(); ++i)
        fmt::format_to(out, "{}\"{}\"", i ? "," : "", hex64(piece.checksums[i]));
      json += "]}";
    }
    json += "]}";
  }
  json += "},\n";
  return json + fmt::format("\"index_checksum\":\"{}\"}}\n", hex64(hash64(json)));
}

CheckpointIndex merge_indexes(std::vector<CheckpointIndex> parts, const std::filesystem::path& path) {
  const std::string where = path.string();
  check(!parts.empty(), "{}: a checkpoint of no ranks", where);
  CheckpointIndex whole;
  whole.step = parts.front().step;
  whole.state = parts.front().state;
  whole.checksum_block = parts.front().checksum_block;
  std::unordered_map<std::string, size_t> position;
  for (CheckpointIndex& part : parts) {
    check(part.step == whole.step, "{}: one rank saved step {} and another step {}", where, whole.step, part.step);
    check(part.checksum_block == whole.checksum_block, "{}: ranks disagree on the block of a checksum", where);
    const size_t first_file = whole.files.size();
    std::move(part.files.begin(), part.files.end(), std::back_inserter(whole.files));
    for (StoredTensor& tensor : part.tensors) {
      for (StoredPiece& piece : tensor.pieces) piece.file += first_file;
      const auto [found, is_new] = position.emplace(tensor.name, whole.tensors.size());
      if (is_new) {
        whole.tensors.push_back(std::move(tensor));
        continue;
      }
      StoredTensor& known = whole.tensors[found->second];
      check(known.dtype == tensor.dtype && known.shape == tensor.shape,
            "{}: ranks disagree on tensor {}: {} {} and {} {}", where, quoted_name(tensor.name),
            name_of(known.dtype), known.shape.to_string(), name_of(tensor.dtype), tensor.shape.to_string());
      std::move(tensor.pieces.begin(), tensor.pieces.end(), std::back_inserter(known.pieces));
    }
  }
  std::sort(whole.tensors.begin(), whole.tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) { return a.name < b.name; });
  for (const StoredTensor& tensor : whole.tensors) check_cover(tensor, where);
  return whole;
}

}  // namespace triax
