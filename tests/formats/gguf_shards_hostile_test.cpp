// GGUF models in several files whose numbers, names or files are wrong. The other files' names are made from
// the first one's name, never from what stands in it, so that they lie in its folder.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "formats/gguf.h"
#include "gguf_bytes.h"

namespace phalanx::formats {
namespace {

namespace fs = std::filesystem;
using gguf_bytes::Builder;
using gguf_bytes::pair;
using enum FormatErrorKind;

std::string u16(std::string_view key, uint16_t value) {
  return pair(key, 2, raw(value));
}

/// One file of a model of several.
std::string shard(uint16_t number, uint16_t count, const std::string& tensor, int32_t num_tensors = 2) {
  const Builder builder = {.pairs = {u16("split.no", number), u16("split.count", count),
                                     pair("split.tensors.count", 5, raw(num_tensors))},
                           .tensors = {{.name = tensor}},
                           .data_bytes = 32};
  return builder.bytes();
}

std::string with_keys(std::vector<std::string> pairs, const std::string& tensor = "a") {
  return Builder{.pairs = std::move(pairs), .tensors = {{.name = tensor}}, .data_bytes = 32}.bytes();
}

using Files = std::map<std::string, std::string>;
const std::string kFirst = "m-00001-of-00002.gguf", kSecond = "m-00002-of-00002.gguf";

struct ShardCase {
  std::string what;
  FormatErrorKind kind;
  Files files;
  std::string opened = kFirst;
};

std::vector<ShardCase> shard_cases() {
  const std::string first = shard(0, 2, "a"), second = shard(1, 2, "b");
  return {
      {"99999 shards",
       kSplit,
       {{"m-00001-of-99999.gguf", with_keys({pair("split.count", 4, raw(99999u))})}},
       "m-00001-of-99999.gguf"},
      {"no shards",
       kSplit,
       {{"m-00001-of-00000.gguf", with_keys({u16("split.count", 0)})}},
       "m-00001-of-00000.gguf"},
      {"-1 shards", kSplit, {{kFirst, with_keys({pair("split.count", 5, raw(-1))})}}},
      {"2^63 shards", kValue, {{kFirst, with_keys({pair("split.count", 10, raw(uint64_t{1} << 63))})}}},
      {"the number of shards is text",
       kType,
       {{kFirst, with_keys({pair("split.count", 8, gguf_bytes::text("2"))})}}},
      {"the shard's number is its count",
       kSplit,
       {{kFirst, with_keys({u16("split.count", 2), u16("split.no", 2)})}}},
      {"9999 shards of which one is there",
       kNotRegular,
       {{"m-00001-of-09999.gguf", shard(0, 9999, "a")}},
       "m-00001-of-09999.gguf"},
      {"no second file", kNotRegular, {{kFirst, first}}},
      {"its name says three", kSplit, {{"m-00001-of-00003.gguf", first}}, "m-00001-of-00003.gguf"},
      {"its name says nothing", kSplit, {{"m.gguf", first}}, "m.gguf"},
      {"its name is another's", kSplit, {{kSecond, first}}, kSecond},
      {"the second was opened", kSplit, {{kFirst, first}, {kSecond, second}}, kSecond},
      {"the second is the first", kSplit, {{kFirst, first}, {kSecond, shard(0, 2, "b")}}},
      {"the second is of three", kSplit, {{kFirst, first}, {kSecond, shard(1, 3, "b")}}},
      {"the second says nothing", kMissing, {{kFirst, first}, {kSecond, with_keys({}, "b")}}, kFirst},
      {"the second has the first one's tensor", kSplit, {{kFirst, first}, {kSecond, shard(1, 2, "a")}}},
      {"the second is cut", kHeaderTooSmall, {{kFirst, first}, {kSecond, "GGUF"}}},
      {"fewer tensors than promised", kSplit, {{kFirst, shard(0, 2, "a", 3)}, {kSecond, second}}},
      {"a number of tensors below zero", kSplit, {{kFirst, shard(0, 2, "a", -1)}, {kSecond, second}}},
      {"no number of tensors",
       kMissing,
       {{kFirst, with_keys({u16("split.count", 2), u16("split.no", 0)})}, {kSecond, second}}},
  };
}

TEST(GgufShardsHostile, EveryWrongSetOfFilesIsATypedError) {
  for (const ShardCase& one : shard_cases()) {
    const TempFolder folder;
    for (const auto& [name, bytes] : one.files) write_bytes(folder / name, bytes);
    expect_format_error(
        one.kind, [&] { GgufFile file(folder / one.opened); }, one.what);
  }
}

TEST(GgufShardsHostile, APipeOrFolderInPlaceOfAFileIsRefusedAtOnce) {
  const TempFolder folder;
  write_bytes(folder / kFirst, shard(0, 2, "a"));
  ASSERT_EQ(0, ::mkfifo((folder / kSecond).c_str(), 0600));
  expect_format_error(
      kNotRegular, [&] { GgufFile file(folder / kFirst); }, "pipe");
  fs::remove(folder / kSecond);
  fs::create_directory(folder / kSecond);
  expect_format_error(
      kNotRegular, [&] { GgufFile file(folder / kFirst); }, "folder");
}

TEST(GgufShardsHostile, ANameOfDotsStaysInItsFolder) {
  const TempFolder folder;
  for (const std::string prefix : {"..", "~", "%s", "$HOME", "*"}) {
    const fs::path first = folder / (prefix + "-00001-of-00002.gguf");
    write_bytes(first, shard(0, 2, "a"));
    expect_format_error(
        kNotRegular, [&] { GgufFile file(first); }, prefix);
    write_bytes(folder / (prefix + "-00002-of-00002.gguf"), shard(1, 2, "b"));
    EXPECT_EQ(GgufFile(first).tensors().size(), 2u) << prefix;
  }
}

}  // namespace
}  // namespace phalanx::formats
