#include "triax/checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include "checkpoint/checkpoint_testing.h"
#include "triax/base/rng.h"

namespace triax {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::expect_contains;
using testing::raw_safetensors;
using testing::write_raw;

const fs::path kReference = fs::path(TRIAX_TEST_DATA) / "reference.safetensors";

// The tensors of data/make_safetensors.py, in its order.
const std::vector<SafetensorsSpec>& reference_tensors() {
  static const std::vector<SafetensorsSpec> tensors = {
      {"layers.0.weight", DType::f32, {3, 5}}, {"layers.0.bias", DType::f32, {5}},
      {"layers.10.weight", DType::bf16, {2, 3}}, {"layers.2.weight", DType::bf16, {3}},
      {"half", DType::f16, {1, 1, 1, 4}}, {"double", DType::f64, {2}},
      {"ids", DType::i64, {3}}, {"counts", DType::u64, {1}},
      {"i32", DType::i32, {2}}, {"u32", DType::u32, {2}},
      {"i16", DType::i16, {3}}, {"u16", DType::u16, {1}},
      {"i8", DType::i8, {3}}, {"u8", DType::u8, {2}},
      {"mask", DType::boolean, {5}}, {"scalar", DType::f32, {}},
      {"empty", DType::f32, {0, 7}}, {"quo\"ted\\\n\x01\x7f/é日本", DType::f32, {1}}};
  return tensors;
}

std::string reference_bytes(const std::string& name) {
  for (size_t n = 0; n < reference_tensors().size(); ++n) {
    const SafetensorsSpec& spec = reference_tensors()[n];
    if (spec.name != name) continue;
    std::string bytes;
    for (size_t i = 0; i < static_cast<size_t>(spec.shape.numel()); ++i)
      bytes.append(size_of(spec.dtype), static_cast<char>((7 * n + i) % (spec.dtype == DType::boolean ? 2 : 251)));
    return bytes;
  }
  return {};
}

TEST(Safetensors, WritesTheBytesOfTheReferenceImplementation) {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "ours.safetensors";
  SafetensorsWriter writer(path, reference_tensors(), {{"format", "pt \"é\"\t"}});
  for (const SafetensorsSpec& spec : writer.order()) {
    const std::string bytes = reference_bytes(spec.name);
    writer.write(bytes.data(), bytes.size());
  }
  EXPECT_FALSE(fs::exists(path));
  writer.commit();
  EXPECT_EQ(read_file(path), read_file(kReference));
  EXPECT_EQ(writer.file_bytes(), fs::file_size(path));
}

TEST(Safetensors, ReadsTheFileOfTheReferenceImplementation) {
  const SafetensorsFile file(kReference);
  ASSERT_EQ(file.tensors().size(), reference_tensors().size());
  EXPECT_EQ(file.metadata(), (SafetensorsMetadata{{"format", "pt \"é\"\t"}}));
  for (const SafetensorsSpec& spec : reference_tensors()) {
    const SafetensorsEntry& entry = file.get(spec.name);
    EXPECT_EQ(entry.dtype, spec.dtype) << spec.name;
    EXPECT_EQ(entry.shape, spec.shape) << spec.name;
    const auto bytes = file.bytes(entry);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), reference_bytes(spec.name));
  }
  EXPECT_EQ(file.find("nothing"), nullptr);
  expect_contains(error_of([&] { file.get("layers.0.weigth"); }), "the nearest name is \"layers.0.weight\"");
}

TEST(Safetensors, ConvertsFloatsAndRefusesOtherMixtures) {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "x.safetensors";
  OwnedTensor source = testing::counting({2, 3}, 0.5f);
  SafetensorsWriter writer(path, {{"x", DType::f32, {2, 3}}});
  writer.write(source.span<float>().data(), source.view().bytes());
  writer.commit();
  const SafetensorsFile file(path);
  for (const DType dtype : {DType::f64, DType::f32, DType::f16, DType::bf16}) {
    OwnedTensor target({2, 3}, dtype);
    file.read(file.get("x"), target);
    for (size_t i = 0; i < 6; ++i) {
      const float expected = 0.5f + static_cast<float>(i);
      const double value = dtype == DType::f64   ? target.span<double>()[i]
                           : dtype == DType::f32 ? target.span<float>()[i]
                           : dtype == DType::f16 ? float(target.span<f16>()[i])
                                                 : float(target.span<bf16>()[i]);
      EXPECT_EQ(value, expected) << name_of(dtype);
    }
  }
  expect_contains(error_of([&] { file.read(file.get("x"), OwnedTensor({2, 3}, DType::i32)); }), "f32 cannot be read as i32");
  expect_contains(error_of([&] { file.read(file.get("x"), OwnedTensor({3, 2}, DType::f32)); }), "shape [2, 3], and [3, 2] is wanted");
}

TEST(Safetensors, RefusesToWriteWhatCannotBeRead) {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "x.safetensors";
  const auto writing = [&](std::vector<SafetensorsSpec> specs) {
    return error_of([&] { SafetensorsWriter writer(path, specs); });
  };
  expect_contains(writing({{"a", DType::f32, {1}}, {"a", DType::i8, {1}}}), "two tensors named \"a\"");
  expect_contains(writing({{"__metadata__", DType::f32, {1}}}), "__metadata__");
  expect_contains(writing({{"\xff", DType::f32, {1}}}), "not UTF-8");
  SafetensorsWriter unfinished(path, {{"a", DType::f32, {2}}});
  unfinished.write("1234", 4);
  expect_contains(error_of([&] { unfinished.commit(); }), "not all written");
  EXPECT_FALSE(fs::exists(path));
}

struct Hostile {
  std::string bytes, message;
};

TEST(Safetensors, NamesWhatIsWrongWithAFile) {
  const std::string four(4, 'x');
  const auto one = [](std::string_view description) {
    return fmt::format("{{\"t\":{}}}", description);
  };
  const std::vector<Hostile> files = {
      {"", "too few"},
      {"1234567", "too few"},
      {std::string(8, '\xff'), "over the limit"},
      {std::string("\x01\xe1\xf5\x05\0\0\0\0", 8), "over the limit of 100000000"},
      {std::string("\x00\xe1\xf5\x05\0\0\0\0", 8) + "{}", "truncated"},
      {raw_safetensors(""), "does not begin with '{'"},
      {raw_safetensors(" {}"), "does not begin with '{'"},
      {raw_safetensors("[]"), "does not begin with '{'"},
      {raw_safetensors("{"), "not valid JSON"},
      {raw_safetensors("{}x"), "not valid JSON"},
      {raw_safetensors("{\"t\xff\":1}"), "not valid UTF-8 at byte 11"},
      {raw_safetensors("{\"t\xed\xa0\x80\":1}"), "not valid UTF-8"},
      {raw_safetensors(std::string(5000, '{') ), "not valid JSON"},
      {raw_safetensors("{}", four), "the file has 4"},
      {raw_safetensors(one("1")), "tensor \"t\": its description is not a JSON object"},
      {raw_safetensors(one("{}")), "has no \"dtype\""},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[1]})"), four), "has no \"data_offsets\""},
      {raw_safetensors(one(R"({"dtype":7,"shape":[1],"data_offsets":[0,4]})"), four), "\"dtype\" is not a text"},
      {raw_safetensors(one(R"({"dtype":"F33","shape":[1],"data_offsets":[0,4]})"), four), "\"F33\" is not an element type"},
      {raw_safetensors(one(R"({"dtype":"f32","shape":[1],"data_offsets":[0,4]})"), four), "\"f32\" is not an element type"},
      {raw_safetensors(one(R"({"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]})"), four), "F8_E4M3 are not supported"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":1,"data_offsets":[0,4]})"), four), "\"shape\" is not a list"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), four), "holds \"-1\""},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})"), four), "not a count"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":["1"],"data_offsets":[0,4]})"), four), "not a count"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1],"data_offsets":[0,4]})"), four), "7 axes"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]})"), four), "overflows"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]})")), "overflows"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]})"), four), "overflows"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), four), "run backwards"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4,8]})"), four), "has 3 numbers"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), four), "span 4 bytes, but F32 [2] takes 8"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"shape":[1]})"), four), "\"shape\" 2 times"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})"), four + four), "begins at byte 4"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"), four), "ends at byte 8 of the data, but the file has only 4: it was truncated"},
      {raw_safetensors(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})"), four + "x"), "the file has 5"},
      {raw_safetensors(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four), "tensor \"b\" begins at byte 0"},
      {raw_safetensors(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})", four + "x"), "tensor \"b\" begins at byte 3"},
      {raw_safetensors(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", four + four), "tensor \"a\" appears twice"},
      {raw_safetensors(R"({"__metadata__":{"a":1}})"), "entry \"a\" is not a text"},
      {raw_safetensors(R"({"__metadata__":[]})"), "\"__metadata__\" is not a JSON object"},
      {raw_safetensors(R"({"__metadata__":{"a":"1","a":"2"}})"), "\"a\" twice"},
      {raw_safetensors(R"({"__metadata__":{},"__metadata__":{}})"), "appears twice"},
  };
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "bad.safetensors";
  for (const Hostile& hostile : files) {
    write_raw(path, hostile.bytes);
    const std::string message = error_of([&] { SafetensorsFile file(path); });
    expect_contains(message, hostile.message);
    expect_contains(message, path.string());
  }
  expect_contains(error_of([&] { SafetensorsFile file(folder.path() / "none"); }), "No such file");
  expect_contains(error_of([&] { SafetensorsFile file(folder.path()); }), "not a regular file");
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "odd.safetensors";
  // Tensors in any order in the JSON, data at an odd byte, a field of the future, no padding.
  write_raw(path, raw_safetensors(R"({"b":{"data_offsets":[1,5],"shape":[1],"dtype":"F32","new":{}},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"e":{"dtype":"F64","shape":[3,0],"data_offsets":[1,1]}} )",
                                  std::string("\x07\0\0\x80\x3f", 5)));
  const SafetensorsFile file(path);
  OwnedTensor one({1}, DType::f32);
  file.read(file.get("b"), one);
  EXPECT_EQ(one.span<float>()[0], 1.0f);
  EXPECT_EQ(file.get("e").shape.numel(), 0);
  write_raw(path, raw_safetensors("{}"));
  EXPECT_TRUE(SafetensorsFile(path).tensors().empty());
}

// Opens the file and, if that succeeds, touches every byte that it claims to have.
bool reads(const fs::path& path) {
  try {
    const SafetensorsFile file(path);
    uint64_t bytes = 0;
    for (const SafetensorsEntry& entry : file.tensors())
      for (const std::byte b : file.bytes(entry)) bytes += 1 + static_cast<uint64_t>(b) * 0;
    EXPECT_EQ(bytes + file.header().size(), file.file_bytes());
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST(SafetensorsFuzz, EveryTruncationIsAnError) {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "cut.safetensors";
  const std::string whole = read_file(kReference);
  for (size_t length = 0; length < whole.size(); ++length) {
    write_raw(path, std::string_view(whole).substr(0, length));
    EXPECT_FALSE(reads(path)) << length;
  }
}

TEST(SafetensorsFuzz, MutatedBytesNeverCrash) {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "mutated.safetensors";
  const std::string whole = read_file(kReference);
  const size_t header = SafetensorsFile(kReference).header().size();
  Philox random(1, 2);
  int refused = 0;
  constexpr int kRounds = 4000;
  constexpr std::string_view kTokens = "0123456789[]{}\",:-eE.\\ FBUI\xff";
  for (int round = 0; round < kRounds; ++round) {
    std::string mutated = whole;
    for (uint64_t i = random.next_below(4) + 1; i > 0; --i) {
      const size_t at = random.next_below(header);
      switch (random.next_below(4)) {
        case 0: mutated[at] = static_cast<char>(random.next_u32()); break;
        case 1: mutated[at] = kTokens[random.next_below(kTokens.size())]; break;
        case 2: mutated.erase(at, random.next_below(8)); break;
        default: mutated.insert(at, mutated.substr(random.next_below(header), random.next_below(40)));
      }
    }
    if (random.next_below(2)) {  // keep the length field right, so that the JSON itself is met
      const uint64_t length = header - 8 + mutated.size() - whole.size();
      std::memcpy(mutated.data(), &length, 8);
    }
    write_raw(path, mutated);
    refused += !reads(path);
  }
  EXPECT_GT(refused, kRounds / 2);
  EXPECT_LT(refused, kRounds);  // some mutations only rename a tensor
}

TEST(SafetensorsDirectory, ReadsOneFileAndShards) {
  const TemporaryDirectory folder;
  const auto write_one = [&](const std::string& file, const std::string& name, float start) {
    const OwnedTensor tensor = testing::counting({4}, start);
    SafetensorsWriter writer(folder.path() / file, {{name, DType::f32, {4}}});
    writer.write(tensor.view().raw(), tensor.view().bytes());
    writer.commit();
  };
  const fs::path index = folder.path() / "model.safetensors.index.json";
  expect_contains(error_of([&] { SafetensorsDirectory d(folder.path()); }), "neither model.safetensors nor");
  write_one("model.safetensors", "single", 100);
  OwnedTensor read({4}, DType::f32);
  SafetensorsDirectory single(folder.path());
  single.read("single", read);
  EXPECT_EQ(read.span<float>()[3], 103);

  write_one("model-00001-of-00002.safetensors", "a", 0);
  write_one("model-00002-of-00002.safetensors", "b", 10);
  write_raw(index, R"({"metadata":{"total_size":32},"weight_map":{"a":"model-00001-of-00002.safetensors",
                       "b":"model-00002-of-00002.safetensors","c":"model-00002-of-00002.safetensors","d":"gone.safetensors"}})");
  SafetensorsDirectory shards(folder.path());
  EXPECT_EQ(shards.names(), (std::vector<std::string>{"a", "b", "c", "d"}));
  shards.read("b", read);
  EXPECT_EQ(read.span<float>()[0], 10);
  expect_contains(error_of([&] { shards.read("c", read); }), "tensor \"c\" is not in it");
  expect_contains(error_of([&] { shards.read("d", read); }), "gone.safetensors: No such file");
  expect_contains(error_of([&] { shards.read("single", read); }), "there is no tensor \"single\"");

  for (const char* bad : {"{", "{}", R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":"../a"}})",
                          R"({"weight_map":{"a":"/etc/passwd"}})", R"({"weight_map":{"a":""}})",
                          R"({"weight_map":{"a":"x\u0000y"}})"}) {
    write_raw(index, bad);
    expect_contains(error_of([&] { SafetensorsDirectory d(folder.path()); }), index.string());
  }
}

}  // namespace
}  // namespace triax
