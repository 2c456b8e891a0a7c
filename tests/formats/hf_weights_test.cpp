#include "formats/hf_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "format_test_util.h"

namespace phalanx::formats {
namespace {

using core::DType;
using nlohmann::json;
using Kind = FormatErrorKind;

const std::string kIndex = "model.safetensors.index.json";

/// Four tensors of 40 bytes; 100 bytes per shard make two shards.
void write_model(const std::filesystem::path& folder, uint64_t max_shard_bytes) {
  std::vector<TensorSpec> specs;
  for (const char* name : {"d", "a", "c", "b"}) specs.push_back({name, DType::kF32, {10}});
  HfWeightsWriter writer(folder, specs, max_shard_bytes);
  for (const TensorSpec& spec : specs)
    writer.write_floats(spec.name, std::vector<float>(10, float(spec.name[0])));
  writer.finish();
}

json read_index(const TempFolder& folder) {
  return json::parse(read_bytes(folder / kIndex));
}

TEST(HfWeights, WritesOneFileWithoutAnIndexWhereItFits) {
  const TempFolder folder;
  write_model(folder.path(), kDefaultShardBytes);
  EXPECT_TRUE(std::filesystem::exists(folder / "model.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(folder / kIndex));
  const HfWeights weights(folder.path());
  EXPECT_EQ(weights.num_files(), 1u);
  EXPECT_EQ(values_of<float>(weights, "c")[9], float('c'));
  EXPECT_EQ(HfWeights(folder / "model.safetensors").tensors().size(), 4u);
}

TEST(HfWeights, CutsIntoShardsAndReadsThemBack) {
  const TempFolder folder;
  write_model(folder.path(), 100);
  const json index = read_index(folder);
  EXPECT_EQ(index["metadata"], (json{{"total_parameters", 40}, {"total_size", 160}}));
  EXPECT_EQ(index["weight_map"]["d"], "model-00001-of-00002.safetensors");
  EXPECT_EQ(index["weight_map"]["b"], "model-00002-of-00002.safetensors");
  const HfWeights weights(folder.path());
  EXPECT_EQ(weights.num_files(), 2u);
  for (const char* name : {"a", "b", "c", "d"})
    EXPECT_EQ(values_of<float>(weights, name), std::vector<float>(10, float(name[0])));
}

TEST(HfWeights, ATensorLargerThanTheLimitGetsAShardOfItsOwn) {
  const TempFolder folder;
  write_model(folder.path(), 1);
  EXPECT_EQ(HfWeights(folder.path()).num_files(), 4u);
}

TEST(HfWeights, EveryDisagreementOfIndexAndShardsIsATypedError) {
  const auto try_index = [](const std::string& what, const std::function<void(json&)>& change) {
    const TempFolder folder;
    write_model(folder.path(), 100);
    json index = read_index(folder);
    change(index);
    write_bytes(folder / kIndex, index.dump());
    expect_format_error(
        Kind::kIndex, [&] { HfWeights weights(folder.path()); }, what);
  };
  try_index("no map", [](json& index) { index.erase("weight_map"); });
  try_index("map is a list", [](json& index) { index["weight_map"] = json::array(); });
  try_index("path upwards", [](json& index) { index["weight_map"]["a"] = "../x.safetensors"; });
  try_index("absolute path", [](json& index) { index["weight_map"]["a"] = "/etc/x.safetensors"; });
  try_index("a pickle", [](json& index) { index["weight_map"]["a"] = "pytorch_model.bin"; });
  try_index("file is a number", [](json& index) { index["weight_map"]["a"] = 1; });
  try_index("tensor in no shard", [](json& index) { index["weight_map"]["e"] = index["weight_map"]["a"]; });
  try_index("tensor not mapped", [](json& index) { index["weight_map"].erase("a"); });
  try_index("tensor in the other shard",
            [](json& index) { index["weight_map"]["a"] = index["weight_map"]["b"]; });
  try_index("wrong total_size", [](json& index) { index["metadata"]["total_size"] = 161; });
  try_index("total_size is a string", [](json& index) { index["metadata"]["total_size"] = "160"; });
}

TEST(HfWeights, ATensorInTwoShardsIsAnError) {
  const TempFolder folder;
  write_model(folder.path(), 100);
  std::filesystem::copy_file(folder / "model-00001-of-00002.safetensors",
                             folder / "model-00002-of-00002.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  expect_format_error(
      Kind::kIndex, [&] { HfWeights weights(folder.path()); }, "two shards");
}

TEST(HfWeights, MissingFilesAndPicklesAreNamed) {
  const TempFolder folder;
  expect_format_error(
      Kind::kMissing, [&] { HfWeights weights(folder.path()); }, "empty folder");
  write_bytes(folder / "pytorch_model.bin", "x");
  expect_format_error(
      Kind::kUnsupported, [&] { HfWeights weights(folder.path()); }, "pickle");
  write_model(folder.path(), 100);
  std::filesystem::remove(folder / "model-00002-of-00002.safetensors");
  expect_format_error(
      Kind::kNotRegular, [&] { HfWeights weights(folder.path()); }, "missing shard");
  write_model(folder.path(), 100);
  write_model(folder.path(), kDefaultShardBytes);
  expect_format_error(
      Kind::kIndex, [&] { HfWeights weights(folder.path()); }, "both single file and index");
}

TEST(HfWeights, LinksOutOfTheFolderAreRefusedExceptIntoTheCachesBlobs) {
  const TempFolder outside, root;
  write_model(outside.path(), kDefaultShardBytes);
  std::filesystem::create_directories(root / "cache/snapshots/abc");
  std::filesystem::create_directories(root / "cache/blobs");
  const auto link = root / "cache/snapshots/abc/model.safetensors";
  std::filesystem::create_symlink(outside / "model.safetensors", link);
  expect_format_error(
      Kind::kIndex, [&] { HfWeights weights(root / "cache/snapshots/abc"); }, "link out");
  std::filesystem::remove(link);
  std::filesystem::rename(outside / "model.safetensors", root / "cache/blobs/0123");
  std::filesystem::create_symlink("../../blobs/0123", link);
  EXPECT_EQ(HfWeights(root / "cache/snapshots/abc").tensors().size(), 4u);
}

}  // namespace
}  // namespace phalanx::formats
