#include "triax/checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint_testing.h"
#include "triax/base/hash.h"
#include "triax/base/rng.h"
#include "triax/checkpoint/background_save.h"

namespace triax {
namespace {

namespace fs = std::filesystem;
using testing::counting;
using testing::error_of;
using testing::expect_contains;

std::vector<float> values(const OwnedTensor& tensor) {
  return {tensor.span<float>().begin(), tensor.span<float>().end()};
}

// Copies a region out of a whole tensor, by the plainest code there is.
OwnedTensor cut(const Tensor& whole, const Region& region) {
  OwnedTensor part(Shape{region.numel()}, DType::f32);
  for (int64_t i = region.begin; i < region.end; ++i) {
    int64_t rest = i, number = 0, stride = 1;
    for (int axis = whole.rank() - 1; axis >= 0; --axis) {
      number += (region.offset[axis] + rest % region.shape[axis]) * stride;
      rest /= region.shape[axis];
      stride *= whole.dim(axis);
    }
    part.span<float>()[static_cast<size_t>(i - region.begin)] = whole.data<float>()[number];
  }
  return part;
}

// Cuts a box in two again and again, and the last boxes into flat ranges, some of them empty.
void random_regions(const Shape& offset, const Shape& shape, int depth, Philox& random, std::vector<Region>& out) {
  if (depth > 0 && shape.rank() > 0) {
    const int axis = static_cast<int>(random.next_below(static_cast<uint64_t>(shape.rank())));
    if (shape[axis] > 1) {
      const int64_t low = 1 + static_cast<int64_t>(random.next_below(static_cast<uint64_t>(shape[axis] - 1)));
      Shape left = shape, right = shape, middle = offset;
      left[axis] = low;
      right[axis] -= low;
      middle[axis] += low;
      random_regions(offset, left, depth - 1, random, out);
      random_regions(middle, right, depth - 1, random, out);
      return;
    }
  }
  int64_t begin = 0;
  const int64_t end = shape.numel();
  while (begin < end && random.next_below(3) != 0) {
    const int64_t stop = begin + static_cast<int64_t>(random.next_below(static_cast<uint64_t>(end - begin) + 1));
    if (stop == begin && !out.empty() && out.back() == flat_region(offset, shape, begin, stop)) continue;
    out.push_back(flat_region(offset, shape, begin, stop));
    begin = stop;
  }
  out.push_back(flat_region(offset, shape, begin, end));
}

TEST(Checkpoint, AnyRegionIsReadBackFromAnySplit) {
  Philox random(11);
  const TemporaryDirectory folder;
  for (int round = 0; round < 40; ++round) {
    const Shape shapes[] = {{}, {13}, {6, 9}, {3, 4, 2, 5}, {1, 7, 3}};
    const int ranks = 1 + static_cast<int>(random.next_below(5));
    std::map<std::string, OwnedTensor> wholes;
    std::vector<OwnedTensor> parts;
    std::vector<std::vector<TensorPiece>> of_rank(static_cast<size_t>(ranks));
    for (const Shape& shape : shapes) {
      const std::string name = "tensor" + shape.to_string();
      wholes[name] = counting(shape, 1);
      std::vector<Region> regions;
      random_regions(whole_region(shape).offset, shape, static_cast<int>(random.next_below(4)), random, regions);
      for (const Region& region : regions) {
        parts.push_back(cut(wholes[name], region));
        of_rank[random.next_below(of_rank.size())].push_back({name, shape, region, parts.back().view()});
      }
    }
    CheckpointTarget target{folder.path(), round, 0, ranks};
    prepare_checkpoint(target);
    for (target.rank = 0; target.rank < ranks; ++target.rank)
      write_checkpoint_pieces(target, of_rank[static_cast<size_t>(target.rank)]);
    publish_checkpoint(target, "{}");

    const CheckpointReader reader(checkpoint_path(folder.path(), round));
    for (const auto& [name, whole] : wholes) {
      OwnedTensor all(whole.view().shape(), DType::f32);
      reader.read(name, all);
      ASSERT_EQ(values(all), values(whole)) << name;
      std::vector<Region> wanted;
      random_regions(whole_region(whole.view().shape()).offset, whole.view().shape(), 3, random, wanted);
      for (const Region& region : wanted) {
        OwnedTensor part(Shape{region.numel()}, DType::f32);
        reader.read(name, region, part);
        ASSERT_EQ(values(part), values(cut(whole, region))) << name << region.to_string();
      }
    }
    reader.verify();
  }
}

TEST(Checkpoint, KeepsTheStateAndTheDTypes) {
  const TemporaryDirectory folder;
  const std::string state = R"({"step":7,"rng":{"seed":18446744073709551615},"loss_scale":0.1,"config":"[model]\nname = \"é\""})";
  OwnedTensor half({3}, DType::bf16), ids({2}, DType::i64), empty({0, 4}, DType::f32);
  half.span<bf16>()[1] = bf16(1.5f);
  ids.span<int64_t>()[1] = INT64_MIN;
  const std::vector<TensorPiece> pieces = {whole_piece("half", half), whole_piece("ids", ids), whole_piece("empty", empty)};
  save_checkpoint({folder.path(), 7}, pieces, state);
  EXPECT_EQ(read_file(folder.path() / "latest"), "step-00000007\n");

  const CheckpointReader reader(folder.path() / "step-00000007");
  EXPECT_EQ(reader.state(), state);
  EXPECT_EQ(reader.step(), 7);
  EXPECT_EQ(reader.index().total_bytes(), 6u + 16u);
  EXPECT_EQ(reader.get("half").dtype, DType::bf16);
  EXPECT_EQ(reader.get("empty").shape, (Shape{0, 4}));
  OwnedTensor as_float({3}, DType::f32), same({2}, DType::i64);
  reader.read("half", as_float);
  EXPECT_EQ(values(as_float), (std::vector<float>{0, 1.5f, 0}));
  reader.read("ids", same);
  EXPECT_EQ(same.span<int64_t>()[1], INT64_MIN);
  expect_contains(error_of([&] { reader.read("ids", OwnedTensor({2}, DType::f32)); }), "i64 cannot be read as f32");
  expect_contains(error_of([&] { reader.read("halve", as_float); }), "the nearest name is \"half\"");
  expect_contains(error_of([&] { reader.read("half", OwnedTensor({4}, DType::f32)); }), "[3], and [4] is wanted");
  expect_contains(error_of([&] { reader.read("half", box_region({2}, {2}), OwnedTensor({2}, DType::f32)); }), "not inside its shape [3]");
  expect_contains(error_of([&] { reader.read("half", box_region({1}, {2}), OwnedTensor({3}, DType::f32)); }), "memory of 2 elements");
}

TEST(Checkpoint, ReadsZerosOutsideWhenAsked) {
  const TemporaryDirectory folder;
  const OwnedTensor embedding = counting({3, 2}, 1);
  save_checkpoint({folder.path(), 1}, std::vector{whole_piece("e", embedding)}, "{}");
  const CheckpointReader reader(folder.path() / "step-00000001");
  OwnedTensor padded({4, 2}, DType::f32);
  for (float& x : padded.span<float>()) x = -1;
  reader.read("e", box_region({1, 0}, {4, 2}), padded, Outside::zero);
  EXPECT_EQ(values(padded), (std::vector<float>{3, 4, 5, 6, 0, 0, 0, 0}));
  reader.read("e", flat_region({0, 0}, {8, 2}, 5, 13), padded, Outside::zero);
  EXPECT_EQ(values(padded), (std::vector<float>{6, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(Checkpoint, ChecksumsCoverPiecesOfManyBlocks) {
  const TemporaryDirectory folder;
  const auto elements = static_cast<int64_t>(kChecksumBlock / 4 * 2 + 5);
  const OwnedTensor big = counting({elements});
  save_checkpoint({folder.path(), 1}, std::vector{whole_piece("big", big)}, "{}");
  const fs::path path = folder.path() / "step-00000001";
  EXPECT_EQ(CheckpointReader(path).get("big").pieces[0].checksums.size(), 3u);
  const fs::path file = path / "pieces-00000-of-00001.safetensors";
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(static_cast<std::streamoff>(fs::file_size(file) - 9));  // in the last block
  stream.put('\x55');
  stream.close();
  OwnedTensor part({4}, DType::f32);
  const CheckpointReader reader(path);
  reader.read("big", box_region({1000}, {4}), part);  // its block is whole
  EXPECT_EQ(values(part)[0], 1000);
  expect_contains(error_of([&] { reader.read("big", box_region({elements - 4}, {4}), part); }), "tensor \"big\": the checksum of bytes 33554432 to 33554452 does not match");
  CheckpointReader(path, {.verify = false}).read("big", box_region({elements - 4}, {4}), part);
}

TEST(Checkpoint, AnAlteredByteAnywhereIsFound) {
  const TemporaryDirectory folder;
  const OwnedTensor tensor = counting({5, 3});
  const std::vector<TensorPiece> pieces = {whole_piece("a", tensor),
                                           {"b", {10, 3}, flat_region({0, 0}, {10, 3}, 0, 15), tensor.view()}};
  const std::vector<TensorPiece> others = {{"b", {10, 3}, flat_region({0, 0}, {10, 3}, 15, 30), tensor.view()}};
  CheckpointTarget target{folder.path(), 20, 0, 2};
  prepare_checkpoint(target);
  write_checkpoint_pieces(target, pieces);
  write_checkpoint_pieces({folder.path(), 20, 1, 2}, others);
  publish_checkpoint(target, R"({"consumed_samples":640})");
  const fs::path path = folder.path() / "step-00000020";
  CheckpointReader(path).verify();
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(path)) {
    ++files;
    const std::string whole = read_file(entry.path());
    for (size_t at = 0; at < whole.size(); ++at) {
      std::string altered = whole;
      altered[at] ^= static_cast<char>(1 << at % 8);
      testing::write_raw(entry.path(), altered);
      expect_contains(error_of([&] { CheckpointReader(path).verify(); }), entry.path().filename().string());
    }
    for (const size_t length : {size_t{0}, size_t{7}, whole.size() / 2, whole.size() - 1}) {
      testing::write_raw(entry.path(), whole.substr(0, length));
      expect_contains(error_of([&] { CheckpointReader(path).verify(); }), "truncated");
      EXPECT_FALSE(newest_whole_checkpoint(folder.path()));
    }
    fs::remove(entry.path());
    expect_contains(error_of([&] { CheckpointReader(path).verify(); }), entry.path().filename().string());
    testing::write_raw(entry.path(), whole);
  }
  EXPECT_EQ(files, 3u);
  CheckpointReader(path).verify();
}

// An index whose own checksum is right but whose content is nonsense: an error or a clean read, no crash.
TEST(CheckpointFuzz, HostileIndexesNeverCrash) {
  const TemporaryDirectory folder;
  const OwnedTensor whole = counting({4, 3}), half = counting({6});
  save_checkpoint({folder.path(), 1},
                  std::vector<TensorPiece>{whole_piece("a", whole),
                                           {"b", {4, 3}, flat_region({0, 0}, {4, 3}, 0, 6), half.view()},
                                           {"b", {4, 3}, flat_region({0, 0}, {4, 3}, 6, 12), half.view()}},
                  R"({"s":1})");
  const fs::path path = folder.path() / "step-00000001";
  const std::string index = read_file(path / "index.json");
  const std::string body = index.substr(0, index.rfind("\"index_checksum\""));
  Philox random(17);
  constexpr std::string_view kTokens = "0123456789-[]{}\",:.eF";
  const std::vector<std::string> numbers = {"0", "1", "-1", "6", "12", "4294967296", "4611686018427387904", "9223372036854775807"};
  int refused = 0;
  constexpr int kRounds = 3000;
  for (int round = 0; round < kRounds; ++round) {
    std::string mutated = body;
    for (uint64_t i = random.next_below(3) + 1; i > 0; --i) {
      const size_t at = random.next_below(mutated.size());
      const size_t digit = mutated.find_first_of("0123456789", at);
      if (random.next_below(3) == 0) {
        mutated[at] = kTokens[random.next_below(kTokens.size())];
      } else if (digit != std::string::npos) {
        const size_t end = mutated.find_first_not_of("0123456789", digit);
        mutated.replace(digit, end - digit, numbers[random.next_below(numbers.size())]);
      }
    }
    testing::write_raw(path / "index.json", mutated + "\"index_checksum\":\"" + hex64(hash64(mutated)) + "\"}\n");
    try {
      const CheckpointReader reader(path);
      reader.verify();
      for (const StoredTensor& tensor : reader.index().tensors) {
        ASSERT_LE(tensor.bytes(), 48u);
        reader.read(tensor.name, OwnedTensor(tensor.shape, tensor.dtype));
      }
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, kRounds / 2);
  EXPECT_LT(refused, kRounds);
}

TEST(Checkpoint, DamageIsReportedWithAWholeOneToUse) {
  const TemporaryDirectory folder;
  const OwnedTensor tensor = counting({8});
  for (const int64_t step : {800, 900, 1000})
    save_checkpoint({folder.path(), step}, std::vector{whole_piece("w", tensor)}, "{}");
  const fs::path last = folder.path() / "step-00001000", file = last / "pieces-00000-of-00001.safetensors";
  EXPECT_EQ(newest_whole_checkpoint(folder.path())->step, 1000);
  fs::resize_file(file, fs::file_size(file) - 4);
  const CheckpointReader reader(last);
  OwnedTensor out({8}, DType::f32);
  const std::string message = error_of([&] { reader.read("w", out); });
  expect_contains(message, file.string());
  expect_contains(message, "truncated; use step 900, which is whole: --set checkpoint.load=" + (folder.path() / "step-00000900").string());
  EXPECT_EQ(newest_whole_checkpoint(folder.path())->step, 900);
  fs::remove(folder.path() / "step-00000900" / "index.json");
  EXPECT_EQ(newest_whole_checkpoint(folder.path())->step, 800);
  expect_contains(error_of([&] { CheckpointReader r(folder.path() / "step-00000900/"); }), "index.json: the checkpoint has no index: it is not whole; use step 800");
  fs::remove_all(folder.path() / "step-00000800");
  expect_contains(error_of([&] { reader.read("w", out); }), "there is no other whole checkpoint");
  expect_contains(error_of([&] { CheckpointReader r(folder.path() / "step-5"); }), "there is no checkpoint of that name");
}

TEST(Checkpoint, NothingIsPublishedUnlessEveryElementIsThereOnce) {
  const TemporaryDirectory folder;
  const OwnedTensor four = counting({4}), eight = counting({2, 4});
  const Shape global{4, 4};
  const auto saving = [&](std::vector<TensorPiece> pieces) {
    return error_of([&] { save_checkpoint({folder.path(), 1}, pieces, "{}"); });
  };
  const TensorPiece top{"w", global, box_region({0, 0}, {2, 4}), eight.view()};
  expect_contains(saving({top}), "tensor \"w\" [4, 4] hold 8 elements of 16");
  expect_contains(saving({top, {"w", global, box_region({1, 0}, {2, 4}), eight.view()}}), "share elements");
  expect_contains(saving({top, {"w", global, flat_region({0, 0}, global, 4, 8), four.view()}}), "share elements");
  expect_contains(saving({{"w", global, flat_region({0, 0}, global, 4, 8), four.view()},
                          {"w", global, flat_region({0, 0}, global, 6, 10), four.view()}}), "share elements");
  expect_contains(saving({top, top}), "two tensors named \"w[0:2, 0:4]\"");
  expect_contains(saving({{"w", global, box_region({3, 0}, {2, 4}), eight.view()}}), "is not inside its shape [4, 4]");
  expect_contains(saving({{"w", global, box_region({0, 0}, {2, 4}), four.view()}}), "8 elements, and its data 4");
  expect_contains(saving({{"w", {4}, whole_region({4}), eight.view().narrow(1, 0, 2)}}), "contiguous elements of f32");
  expect_contains(error_of([&] { save_checkpoint({folder.path(), 1}, {}, "[1]"); }), "state of a checkpoint: not a JSON object");
  expect_contains(error_of([&] { save_checkpoint({folder.path(), 1}, {}, "{"); }), "not valid JSON");

  CheckpointTarget two{folder.path(), 1, 0, 2};
  prepare_checkpoint(two);
  write_checkpoint_pieces(two, std::vector{whole_piece("w", four)});
  expect_contains(error_of([&] { publish_checkpoint(two, "{}"); }), "rank 1 has not written its pieces");
  write_checkpoint_pieces({folder.path(), 1, 1, 2}, std::vector{whole_piece("w", eight)});
  expect_contains(error_of([&] { publish_checkpoint(two, "{}"); }), "ranks disagree on tensor \"w\"");
  EXPECT_TRUE(list_checkpoints(folder.path()).empty());
  expect_contains(error_of([&] { write_checkpoint_pieces({folder.path(), 9}, {}); }), "prepare_checkpoint()");
}

TEST(Checkpoint, SavingAStepAgainReplacesIt) {
  const TemporaryDirectory folder;
  for (const float start : {1.0f, 2.0f}) {
    const OwnedTensor tensor = counting({3}, start);
    save_checkpoint({folder.path(), 5}, std::vector{whole_piece("w", tensor)}, "{}");
    OwnedTensor out({3}, DType::f32);
    CheckpointReader(folder.path() / "step-00000005").read("w", out);
    EXPECT_EQ(values(out)[0], start);
  }
  EXPECT_EQ(list_checkpoints(folder.path()).size(), 1u);
  // A replacement that was stopped between its two renames, where directories cannot be exchanged.
  fs::rename(folder.path() / "step-00000005", folder.path() / "step-00000005.replaced.tmp");
  fs::create_directory(folder.path() / "step-00000004.removed.tmp");
  prepare_checkpoint({folder.path(), 6});
  EXPECT_EQ(newest_whole_checkpoint(folder.path())->step, 5);
  EXPECT_FALSE(fs::exists(folder.path() / "step-00000004.removed.tmp"));
}

TEST(Checkpoint, PruningKeepsTheNewestWholeOnes) {
  const TemporaryDirectory folder;
  const auto steps = [&] {
    std::vector<int64_t> found;
    for (const CheckpointEntry& entry : list_checkpoints(folder.path())) found.push_back(entry.step);
    return found;
  };
  const OwnedTensor tensor = counting({3});
  for (int64_t step = 100; step <= 800; step += 100)
    save_checkpoint({folder.path(), step}, std::vector{whole_piece("w", tensor)}, "{}");
  fs::create_directory(folder.path() / "step-notes");
  prune_checkpoints(folder.path(), {});
  EXPECT_EQ(steps().size(), 8u);
  prune_checkpoints(folder.path(), {.last = 4, .every = 300});
  EXPECT_EQ(steps(), (std::vector<int64_t>{300, 500, 600, 700, 800}));
  fs::remove(folder.path() / "step-00000800" / "index.json");
  fs::remove(folder.path() / "step-00000600" / "index.json");
  prune_checkpoints(folder.path(), {.last = 1});
  EXPECT_EQ(steps(), (std::vector<int64_t>{700, 800}));  // 800 is damaged: 700 is the newest whole one
  EXPECT_TRUE(fs::exists(folder.path() / "step-notes"));
}

TEST(BackgroundSave, WritesWhatThereWasWhenItStarted) {
  const TemporaryDirectory folder;
  OwnedTensor a = counting({3000, 1000}, 1), b = counting({7}, 5);
  const std::vector<TensorPiece> pieces = {whole_piece("a", a), whole_piece("b", b)};
  save_checkpoint({folder.path() / "sync", 1}, pieces, "{}");
  BackgroundSave saver;
  const CheckpointTarget target{folder.path() / "async", 1};
  prepare_checkpoint(target);
  saver.start(target, pieces, [&] { publish_checkpoint(target, "{}"); });
  saver.wait_until_copied();
  for (float& x : a.span<float>()) x = -1;
  for (float& x : b.span<float>()) x = -1;
  saver.wait();
  EXPECT_FALSE(saver.busy());
  for (const char* file : {"pieces-00000-of-00001.safetensors", "index.json"})
    EXPECT_EQ(hash64(read_file(folder.path() / "sync/step-00000001" / file)),
              hash64(read_file(folder.path() / "async/step-00000001" / file)));
}

TEST(BackgroundSave, AnErrorSurfacesAtTheNextCall) {
  const TemporaryDirectory folder;
  const OwnedTensor tensor = counting({3});
  const std::vector<TensorPiece> pieces = {whole_piece("w", tensor)};
  BackgroundSave saver;
  const CheckpointTarget target{folder.path(), 1};
  saver.start(target, pieces);  // nobody has prepared
  saver.wait_until_copied();
  expect_contains(error_of([&] { saver.wait(); }), "prepare_checkpoint()");
  saver.wait();  // an error is reported once
  saver.start(target, pieces);
  expect_contains(error_of([&] { saver.start(target, pieces); }), "prepare_checkpoint()");
  prepare_checkpoint(target);
  saver.start(target, pieces, [&] { publish_checkpoint(target, "{}"); });
  saver.wait();
  EXPECT_EQ(newest_whole_checkpoint(folder.path())->step, 1);
}

}  // namespace
}  // namespace triax
