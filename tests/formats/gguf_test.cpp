#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "format_test_util.h"
#include "formats/gguf_writer.h"

namespace phalanx::formats {
namespace {

using core::DType;

TEST(GgufFile, ReadsEveryKindOfMetadataThatTheReferenceWrites) {
  const GgufFile file(golden("tiny.gguf"));
  const GgufMetadata& metadata = file.metadata();
  EXPECT_EQ(file.version(), 3u);
  EXPECT_TRUE(file.notices().empty());
  EXPECT_EQ(metadata.integer("test.u8"), 200);
  EXPECT_EQ(metadata.integer("test.i8"), -100);
  EXPECT_EQ(metadata.integer("test.u16"), 60000);
  EXPECT_EQ(metadata.integer("test.i16"), -30000);
  EXPECT_EQ(metadata.integer("test.u32"), 4000000000);
  EXPECT_EQ(metadata.integer("test.i32"), -2000000000);
  EXPECT_EQ(metadata.integer("test.u64"), int64_t{1} << 60);
  EXPECT_EQ(metadata.integer("test.i64"), -(int64_t{1} << 60));
  EXPECT_EQ(metadata.number("test.f32"), double(0.1f));
  EXPECT_EQ(metadata.number("test.f64"), 0.1);
  EXPECT_TRUE(metadata.boolean("test.bool"));
  EXPECT_EQ(metadata.text("test.text"), "Grüße\n");
  EXPECT_EQ(metadata.texts("test.texts"), (std::vector<std::string_view>{"a", "", "Ġb"}));
  EXPECT_EQ(metadata.integers("test.ints"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(metadata.floats("test.floats"), (std::vector<float>{0.5, -1.5}));
  EXPECT_FALSE(metadata.find_integer("absent").has_value());
}

TEST(GgufFile, ReadsTensorsWithShapesInCOrder) {
  const GgufFile file(golden("tiny.gguf"));
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.find("first.weight")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(values_of<float>(file, "first.weight"), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(values_of<int32_t>(file, "ids"), (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(file.find("absent"), nullptr);
  file.check_unchanged();
}

TEST(GgufFile, NamesKeyAndTypesWhenAValueIsOfAnotherType) {
  const GgufFile file(golden("tiny.gguf"));
  const GgufMetadata& metadata = file.metadata();
  const auto kType = FormatErrorKind::kType;
  expect_format_error(
      kType, [&] { metadata.text("test.u8"); }, "text of u8");
  expect_format_error(
      kType, [&] { metadata.integer("test.f32"); }, "integer of f32");
  expect_format_error(
      kType, [&] { metadata.boolean("test.u8"); }, "bool of u8");
  expect_format_error(
      kType, [&] { metadata.number("test.text"); }, "number of string");
  expect_format_error(
      kType, [&] { metadata.texts("test.ints"); }, "strings of integers");
  expect_format_error(
      kType, [&] { metadata.texts("test.text"); }, "strings of string");
  expect_format_error(
      kType, [&] { metadata.floats("test.ints"); }, "floats of integers");
  expect_format_error(
      kType, [&] { metadata.floats("test.texts"); }, "floats of strings");
  expect_format_error(
      kType, [&] { metadata.integers("test.floats"); }, "integers of floats");
  expect_format_error(
      kType, [&] { metadata.integers("test.bools"); }, "integers of bools");
  expect_format_error(
      FormatErrorKind::kMissing, [&] { metadata.integer("absent"); }, "absent");
  try {
    metadata.texts("test.ints");
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find("test.ints is an array of i32, but must be an array of strings"),
              std::string::npos)
        << error.what();
  }
}

TEST(GgufFile, JoinsShardsFromTheFirst) {
  const GgufFile file(golden("shards-00001-of-00003.gguf"));
  EXPECT_EQ(file.num_shards(), 3u);
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(values_of<float>(file, "blk.2.ffn_norm.weight"), (std::vector<float>{2, 2, 2, 2}));
  expect_format_error(
      FormatErrorKind::kSplit, [] { GgufFile second(golden("shards-00002-of-00003.gguf")); }, "second shard");
}

TEST(GgufFile, RefusesShardsThatAreMissingMisplacedOrMisnamed) {
  const TempFolder folder;
  const auto copy = [&](int from, const std::string& to) {
    std::filesystem::copy_file(golden("shards-0000" + std::to_string(from) + "-of-00003.gguf"), folder / to,
                               std::filesystem::copy_options::overwrite_existing);
  };
  const auto open = [&](const std::string& name) { return [&, name] { GgufFile file(folder / name); }; };
  copy(1, "x-00001-of-00003.gguf");
  copy(2, "x-00002-of-00003.gguf");
  expect_format_error(FormatErrorKind::kNotRegular, open("x-00001-of-00003.gguf"), "missing third");
  copy(2, "x-00003-of-00003.gguf");
  expect_format_error(FormatErrorKind::kSplit, open("x-00001-of-00003.gguf"), "second twice");
  copy(1, "x.gguf");
  expect_format_error(FormatErrorKind::kSplit, open("x.gguf"), "name without numbers");
}

TEST(GgufWriter, WritesWhatTheReaderReads) {
  const TempFolder folder;
  const std::vector<float> values(64, 0.5f);
  GgufPairs pairs;
  pairs.text("general.architecture", "llama")
      .u32("llama.block_count", 2)
      .f32("x.f", 0.25f)
      .boolean("x.b", true);
  pairs.i32("x.i", -3).u64("x.u64", 7).u16("x.u16", 9).texts("x.t", std::vector<std::string>{"a", "b"});
  pairs.i32s("x.is", std::vector<int32_t>{1, -1}).f32s("x.fs", std::vector<float>{1.5f});
  GgufWriter writer(folder / "out.gguf",
                    {{"a", DType::kQ8_0, {2, 32}}, {"b", DType::kF16, {64}}, {"c", DType::kF32, {3}}}, pairs);
  writer.write("c", std::as_bytes(std::span(values).first(3)));
  writer.write_floats("a", values);
  EXPECT_FALSE(std::filesystem::exists(folder / "out.gguf"));
  EXPECT_THROW(writer.finish(), core::Error);  // b is missing
  writer.write_floats("b", values);
  EXPECT_THROW(writer.write_floats("b", values), core::Error);  // twice
  EXPECT_THROW(writer.write_floats("d", values), core::Error);  // unknown
  writer.finish();
  const GgufFile file(folder / "out.gguf");
  EXPECT_EQ(file.metadata().integer("llama.block_count"), 2);
  EXPECT_EQ(file.metadata().integers("x.is"), (std::vector<int64_t>{1, -1}));
  EXPECT_EQ(file.metadata().texts("x.t")[1], "b");
  EXPECT_EQ(values_of<float>(file, "c"), (std::vector<float>{0.5, 0.5, 0.5}));
  std::vector<float> decoded(64);
  to_float(DType::kQ8_0, file.bytes(*file.find("a")).data(), 64, decoded.data());
  EXPECT_NEAR(decoded[63], 0.5f, 2e-4);
}

TEST(GgufWriter, CopiesMetadataOfEveryTypeUnchanged) {
  const TempFolder folder;
  const GgufFile original(golden("tiny.gguf"));
  GgufPairs pairs;
  for (const auto& [key, value] : original.metadata().values()) pairs.copy(key, value);
  GgufWriter writer(folder / "copy.gguf", {{"t", DType::kF32, {1}}}, pairs);
  writer.write_floats("t", std::vector<float>{1});
  writer.finish();
  const GgufFile copy(folder / "copy.gguf");
  EXPECT_EQ(copy.metadata().values().size(), original.metadata().values().size());
  for (const auto& [key, value] : original.metadata().values()) {
    const GgufValue& copied = *copy.metadata().find(key);
    EXPECT_EQ(copied.type, value.type) << key;
    if (const auto* array = std::get_if<GgufArray>(&value.value)) {
      const auto& other = std::get<GgufArray>(copied.value);
      EXPECT_EQ(other.element_type, array->element_type) << key;
      EXPECT_EQ(other.strings, array->strings) << key;
      EXPECT_TRUE(std::ranges::equal(other.bytes, array->bytes)) << key;
    } else {
      EXPECT_EQ(copied.value.index(), value.value.index()) << key;
    }
  }
  EXPECT_EQ(copy.metadata().integer("test.i64"), original.metadata().integer("test.i64"));
  EXPECT_EQ(copy.metadata().number("test.f32"), original.metadata().number("test.f32"));
}

TEST(GgufWriter, RefusesNamesAndShapesThatGgufCannotHold) {
  const TempFolder folder;
  const auto write = [&](TensorSpec spec) {
    return [&, spec] { GgufWriter(folder / "x.gguf", {spec}, {}); };
  };
  EXPECT_THROW(write({std::string(64, 'x'), DType::kF32, {1}})(), core::Error);
  EXPECT_THROW(write({"x", DType::kF32, {1, 1, 1, 1, 1}})(), core::Error);
  EXPECT_THROW(write({"x", DType::kF32, {}})(), core::Error);
  EXPECT_THROW(write({"x", DType::kQ8_0, {33}})(), core::Error);
  EXPECT_THROW(write({"x", DType::kBool, {1}})(), core::Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "a partial file stayed behind";
}

}  // namespace
}  // namespace phalanx::formats
