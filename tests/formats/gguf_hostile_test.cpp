#include <gtest/gtest.h>

#include <cstdlib>

#include "format_test_util.h"
#include "formats/gguf.h"
#include "formats/tensor_spec.h"
#include "gguf_bytes.h"

namespace phalanx::formats {
namespace {

using Kind = FormatErrorKind;
using gguf_bytes::Builder;
using gguf_bytes::pair;
using gguf_bytes::Tensor;
using gguf_bytes::text;

struct Case {
  std::string what;
  Kind kind;
  Builder builder;
};

Builder with_pair(std::string bytes) {
  return {.pairs = {std::move(bytes)}};
}
Builder with_tensors(std::vector<Tensor> tensors) {
  return {.tensors = std::move(tensors)};
}
Builder with_tensor(Tensor tensor) {
  return with_tensors({std::move(tensor)});
}

std::string arrays_inside_each_other(int depth) {
  std::string out;
  for (int i = 0; i < depth; ++i) out += raw(9u) + raw(uint64_t{1});
  return out;
}

std::vector<Case> header_cases() {
  return {
      {"wrong magic", Kind::kVersion, {.magic = "GGUX"}},
      {"version 0", Kind::kVersion, {.version = 0}},
      {"version 1", Kind::kVersion, {.version = 1}},
      {"version 2^32-1", Kind::kVersion, {.version = ~0u}},
      {"big-endian", Kind::kVersion, {.version = 3u << 24}},
      {"tensors -1", Kind::kCount, {.num_tensors = ~uint64_t{0}}},
      {"tensors 2^63", Kind::kCount, {.num_tensors = uint64_t{1} << 63}},
      {"tensors 10^9", Kind::kCount, {.num_tensors = 1'000'000'000}},
      {"keys -1", Kind::kCount, {.num_pairs = ~uint64_t{0}}},
      {"keys 2^40", Kind::kCount, {.num_pairs = uint64_t{1} << 40}},
      {"key length 2^64-1", Kind::kKey, with_pair(raw(~uint64_t{0}))},
      {"key length 10^12", Kind::kKey, with_pair(raw(uint64_t{1'000'000'000'000}))},
      {"key length 65536", Kind::kKey, with_pair(raw(uint64_t{65536}))},
      {"key length 0", Kind::kKey, with_pair(pair("", 4, raw(1u)))},
      {"key not UTF-8", Kind::kKey, with_pair(pair("\xff", 4, raw(1u)))},
      {"key with NUL", Kind::kKey, with_pair(pair(std::string_view("a\0b", 3), 4, raw(1u)))},
      {"key beyond the end", Kind::kHeaderTooSmall, with_pair(raw(uint64_t{60000}))},
      {"duplicate key", Kind::kDuplicateKey, {.pairs = {pair("a", 4, raw(1u)), pair("a", 4, raw(1u))}}},
      {"value type 13", Kind::kType, with_pair(pair("a", 13, raw(1u)))},
      {"value type 255", Kind::kType, with_pair(pair("a", 255, raw(1u)))},
      {"value type -1", Kind::kType, with_pair(pair("a", ~0u, raw(1u)))},
      {"string beyond the end", Kind::kHeaderTooSmall, with_pair(pair("a", 8, raw(uint64_t{1} << 40)))},
      {"array of arrays", Kind::kArray, with_pair(pair("a", 9, raw(9u) + raw(uint64_t{1})))},
      {"arrays 10^4 deep", Kind::kArray, with_pair(pair("a", 9, arrays_inside_each_other(10'000)))},
      {"array beyond the end", Kind::kArray, with_pair(pair("a", 9, raw(0u) + raw(uint64_t{5000})))},
      {"array of type 99", Kind::kType, with_pair(pair("a", 9, raw(99u) + raw(uint64_t{1})))},
      {"array count 2^62", Kind::kArray, with_pair(pair("a", 9, raw(4u) + raw(uint64_t{1} << 62)))},
      {"array size wraps", Kind::kArray, with_pair(pair("a", 9, raw(10u) + raw((uint64_t{1} << 61) + 1)))},
      {"array of 10^9 empty strings", Kind::kArray,
       with_pair(pair("a", 9, raw(8u) + raw(uint64_t{1'000'000'000})))},
      {"bool 2", Kind::kValue, with_pair(pair("a", 7, std::string(1, 2)))},
      {"bool 2 in an array", Kind::kValue,
       with_pair(pair("a", 9, raw(7u) + raw(uint64_t{1}) + std::string(1, 2)))},
      {"alignment 0", Kind::kAlignment, with_pair(pair("general.alignment", 4, raw(0u)))},
      {"alignment 1", Kind::kAlignment, with_pair(pair("general.alignment", 4, raw(1u)))},
      {"alignment 13", Kind::kAlignment, with_pair(pair("general.alignment", 4, raw(13u)))},
      {"alignment 2^31", Kind::kAlignment, with_pair(pair("general.alignment", 4, raw(1u << 31)))},
      {"alignment as u64", Kind::kAlignment, with_pair(pair("general.alignment", 10, raw(uint64_t{32})))},
      {"alignment twice",
       Kind::kDuplicateKey,
       {.pairs = {pair("general.alignment", 4, raw(32u)), pair("general.alignment", 4, raw(64u))}}},
      {"split.count 99999", Kind::kSplit, with_pair(pair("split.count", 4, raw(99999u)))},
      {"split.count 0", Kind::kSplit, with_pair(pair("split.count", 4, raw(0u)))},
  };
}

std::vector<Case> tensor_cases() {
  const uint64_t max = uint64_t(INT64_MAX);
  return {
      {"name of 64 bytes", Kind::kName, with_tensor({.name = std::string(64, 'x')})},
      {"empty name", Kind::kName, with_tensor({.name = ""})},
      {"name not UTF-8", Kind::kName, with_tensor({.name = "\xc0\x80"})},
      {"duplicate name", Kind::kName, with_tensors({{}, {.offset = 32}})},
      {"no dimension", Kind::kDims, with_tensor({.dims = {}})},
      {"5 dimensions", Kind::kDims, with_tensor({.dims = {1, 1, 1, 1, 1}})},
      {"2^32-1 dimensions", Kind::kDims, with_tensor({.num_dims = ~0u})},
      {"dimension 0", Kind::kOverflow, with_tensor({.dims = {0}})},
      {"dimension -1", Kind::kOverflow, with_tensor({.dims = {~uint64_t{0}}})},
      {"dimension 2^62", Kind::kOverflow, with_tensor({.dims = {uint64_t{1} << 62}})},
      {"2^32 x 2^32", Kind::kOverflow, with_tensor({.dims = {uint64_t{1} << 32, uint64_t{1} << 32}})},
      {"INT64_MAX x 2", Kind::kOverflow, with_tensor({.dims = {max, 2}})},
      {"dimension INT64_MAX", Kind::kOverflow, with_tensor({.dims = {max}})},
      {"bytes wrap although elements do not", Kind::kOverflow,
       with_tensor({.dims = {uint64_t{1} << 61}, .type = 28})},
      {"row not divisible by the block", Kind::kBlock, with_tensor({.dims = {33}, .type = 8})},
      {"row of 128 for Q4_K", Kind::kBlock, with_tensor({.dims = {128}, .type = 12})},
      {"removed type 4", Kind::kTensorType, with_tensor({.type = 4})},
      {"removed type 5", Kind::kTensorType, with_tensor({.type = 5})},
      {"Q2_K, which we lack", Kind::kTensorType, with_tensor({.dims = {256}, .type = 10})},
      {"type 36", Kind::kTensorType, with_tensor({.type = 36})},
      {"type 2^31", Kind::kTensorType, with_tensor({.type = 1u << 31})},
      {"type -1", Kind::kTensorType, with_tensor({.type = ~0u})},
      {"offset not aligned", Kind::kOffset, with_tensor({.offset = 4})},
      {"offset past the end", Kind::kOffset, with_tensor({.offset = 1 << 20})},
      {"offset 2^64-32", Kind::kOffset, with_tensor({.offset = ~uint64_t{0} - 31})},
      {"equal offsets", Kind::kOffset, with_tensors({{}, {.name = "u"}})},
      {"overlapping tensors", Kind::kOffset, with_tensors({{.dims = {64}}, {.name = "u", .offset = 32}})},
      {"offsets of another alignment",
       Kind::kOffset,
       {.pairs = {pair("general.alignment", 4, raw(64u))},
        .tensors = {{}, {.name = "u", .offset = 32}},
        .alignment = 64}},
      {"decreasing offsets", Kind::kOffset, with_tensors({{.offset = 32}, {.name = "u", .offset = 0}})},
      {"sum of sizes wraps", Kind::kOverflow,
       with_tensors({{.dims = {max / 4 - 100}},
                     {.name = "u", .dims = {max / 4 - 100}, .offset = (max / 4 - 100) * 4 / 32 * 32 + 32}})},
      {"data shorter than declared", Kind::kData, with_tensor({.dims = {4096}})},
  };
}

TEST(GgufHostile, EveryWrongHeaderIsATypedError) {
  const TempFolder folder;
  for (const auto& cases : {header_cases(), tensor_cases()})
    for (const auto& [what, kind, builder] : cases) {
      write_bytes(folder / "x.gguf", builder.bytes());
      expect_format_error(
          kind, [&] { GgufFile file(folder / "x.gguf"); }, what);
    }
}

TEST(GgufHostile, VersionTwoAndTrailingBytesAreAccepted) {
  const TempFolder folder;
  Builder builder = with_tensor({});
  builder.version = 2;
  write_bytes(folder / "x.gguf", builder.bytes());
  const GgufFile file(folder / "x.gguf");
  EXPECT_EQ(file.version(), 2u);
  ASSERT_EQ(file.notices().size(), 1u);
  EXPECT_NE(file.notices()[0].find("bytes follow the last tensor"), std::string::npos);
}

TEST(GgufHostile, AFileOfNothingAndOneOfAnotherAlignmentAreAccepted) {
  const TempFolder folder;
  write_bytes(folder / "x.gguf", Builder{.data_bytes = 0}.bytes());
  EXPECT_TRUE(GgufFile(folder / "x.gguf").tensors().empty());
  Builder wide = {.pairs = {pair("general.alignment", 4, raw(64u))},
                  .tensors = {{}, {.name = "u", .offset = 64}},
                  .data_bytes = 128,
                  .alignment = 64};
  write_bytes(folder / "x.gguf", wide.bytes());
  const GgufFile file(folder / "x.gguf");
  EXPECT_EQ(file.find("u")->offset_bytes % 64, 0u);
  EXPECT_EQ(values_of<float>(file, "u"), std::vector<float>(4, 0.0f));
}

TEST(GgufHostile, EscapeSequencesInNamesAreNotPrintedRaw) {
  const TempFolder folder;
  write_bytes(folder / "x.gguf", with_tensor({.name = "\x1b[2J", .type = 99}).bytes());
  expect_format_error(
      Kind::kTensorType, [&] { GgufFile file(folder / "x.gguf"); }, "escape sequence");
}

TEST(GgufHostile, EveryTruncationIsATypedError) {
  const TempFolder folder;
  const std::string whole = read_bytes(golden("tiny.gguf"));
  size_t shortest = whole.size();
  for (size_t size = 0; size < whole.size(); ++size) {
    write_bytes(folder / "x.gguf", std::string_view(whole).substr(0, size));
    try {
      GgufFile file(folder / "x.gguf");
      shortest = std::min(shortest, size);  // only padding may be missing
    } catch (const FormatError&) {
    }
  }
  EXPECT_GE(shortest, whole.size() - 31);
}

TEST(GgufHostile, NoFlippedBitCrashesTheReader) {
  const TempFolder folder;
  std::string bytes = read_bytes(golden("tiny.gguf"));
  size_t accepted = 0;
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const char flip = char(1 << bit % 8);
    bytes[bit / 8] = char(bytes[bit / 8] ^ flip);
    write_bytes(folder / "x.gguf", bytes);
    try {
      const GgufFile file(folder / "x.gguf");
      ++accepted;
      for (const TensorInfo& tensor : file.tensors()) ASSERT_EQ(file.bytes(tensor).size(), tensor.size_bytes);
    } catch (const core::Error&) {
    }
    bytes[bit / 8] = char(bytes[bit / 8] ^ flip);
  }
  EXPECT_GT(accepted, 0u);
}

TEST(GgufHostile, AFileThatShrinksUnderTheMappingIsAnErrorAndNotADeath) {
  const TempFolder folder;
  Builder builder = with_tensor({.dims = {65536}});
  builder.data_bytes = 65536 * 4;
  write_bytes(folder / "x.gguf", builder.bytes());
  const GgufFile file(folder / "x.gguf");
  std::filesystem::resize_file(folder / "x.gguf", 4096);
  std::vector<float> values(65536);
  to_float(core::DType::kF32, file.bytes(file.tensors()[0]).data(), 65536, values.data());
  EXPECT_EQ(values.back(), 0.0f);
  expect_format_error(
      Kind::kChanged, [&] { file.check_unchanged(); }, "truncated while mapped");
}

TEST(GgufHostile, FoldersPipesAndMissingFilesAreRefusedAtOnce) {
  const TempFolder folder;
  ASSERT_EQ(0, std::system(("mkfifo " + (folder / "pipe.gguf").string()).c_str()));
  std::filesystem::create_directory(folder / "dir.gguf");
  for (const char* name : {"pipe.gguf", "dir.gguf", "absent.gguf"})
    expect_format_error(
        Kind::kNotRegular, [&] { GgufFile file(folder / name); }, name);
}

}  // namespace
}  // namespace phalanx::formats
