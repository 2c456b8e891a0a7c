#include "checkpoint/manifest.h"

#include <gtest/gtest.h>

#include "checkpoint/box.h"
#include "checkpoint/finite.h"
#include "checkpoint/folder.h"
#include "core/error.h"

namespace phalanx::checkpoint {
namespace {

Manifest small_manifest() {
  Manifest manifest;
  manifest.step = 3;
  manifest.incarnation = 1;
  manifest.num_ranks = 1;
  manifest.environment = {{"libtorch", "x"}};
  manifest.scalars = {{"seed", 7}, {"third", 1.0 / 3}};
  manifest.files = {{"index.h5", 10, {digest_of("i")}}, {"shard_0.h5", 5000, {digest_of("s")}}};
  manifest.tensors = {
      {"a",
       core::DType::kF32,
       {4, 3},
       {{{{0, 0}, {2, 3}}, "shard_0.h5", 100, {}}, {{{2, 0}, {2, 3}}, "shard_0.h5", 200, {}}}}};
  return manifest;
}

/// Replaces text in a written manifest and gives it a fitting digest again, as somebody who edits it would.
std::string edited(const std::string& from, const std::string& to) {
  const std::string text = to_text(small_manifest());
  std::string body = text.substr(0, text.find("\"manifest_digest\""));
  const size_t place = body.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  body.replace(place, from.size(), to);
  return body + "\"manifest_digest\": \"" + to_hex(digest_of(body)) + "\"\n}\n";
}

std::string refusal(const std::string& text) {
  try {
    parse_manifest(text, "M");
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    return error.what();
  }
  return "accepted";
}

TEST(Manifest, ReadsBackWhatWasWritten) {
  const std::string text = to_text(small_manifest());
  const Manifest manifest = parse_manifest(text, "M");
  EXPECT_EQ(to_text(manifest), text);
  EXPECT_EQ(manifest.scalars["third"].get<double>(), 1.0 / 3);
  EXPECT_EQ(manifest.tensor_bytes(), 48U);
}

TEST(Manifest, AnyChangedByteIsRefused) {
  const std::string text = to_text(small_manifest());
  for (size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_NE(refusal(changed), "accepted") << "byte " << i;
    EXPECT_NE(refusal(text.substr(0, i)), "accepted") << "cut at " << i;
  }
  EXPECT_NE(refusal(text + "\n"), "accepted");
}

TEST(Manifest, HostileValuesWithAFittingDigestAreRefused) {
  const std::pair<std::string, std::string> cases[] = {
      {"\"name\":\"shard_0.h5\"", "\"name\":\"../shard_0.h5\""},
      {"\"name\":\"shard_0.h5\"", "\"name\":\"/etc/passwd\""},
      {"\"name\":\"shard_0.h5\"", "\"name\":\"MANIFEST.json\""},
      {"\"bytes\":5000", "\"bytes\":-1"},
      {"\"bytes\":5000", "\"bytes\":1e3"},
      {"\"bytes\":5000", "\"bytes\":18446744073709551615"},
      {"\"byte\":200", "\"byte\":4990"},
      {"\"byte\":200", "\"byte\":9223372036854775807"},
      {"\"shape\":[4,3]", "\"shape\":[1099511627776,1099511627776]"},
      {"\"shape\":[4,3]", "\"shape\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]"},
      {"\"shape\":[4,3]", "\"shape\":[5,3]"},
      {"\"offset\":[2,0]", "\"offset\":[1,0]"},
      {"\"offset\":[2,0]", "\"offset\":[9007199254740992,0]"},
      {"\"offset\":[2,0]", "\"offset\":[2]"},
      {"\"dtype\":\"F32\"", "\"dtype\":\"Q4_0\""},
      {"\"dtype\":\"F32\"", "\"dtype\":\"F31\""},
      {"\"file\":\"shard_0.h5\"", "\"file\":\"shard_9.h5\""},
      {"\"version\": 1", "\"version\": 2"},
      {"\"step\": 3", "\"step\": \"3\""},
      {"\"files\": [", "\"files\": [3,"},
      {"\"tensors\": [", "\"tensors\": [[],"},
      {"\"format\": \"phalanx-checkpoint\"", "\"format\": \"other\""},
  };
  for (const auto& [from, to] : cases) {
    const std::string message = refusal(edited(from, to));
    EXPECT_TRUE(message.starts_with("M: ")) << from << " -> " << to << ": " << message;
  }
}

TEST(Box, RunsCoverARegionOnceAndInOrder) {
  const Box from{{2, 0, 1}, {4, 3, 5}}, to{{0, 0, 0}, {6, 4, 6}}, region{{3, 1, 2}, {2, 2, 3}};
  int64_t covered = 0;
  for_each_run(region, from, to, [&](int64_t a, int64_t b, int64_t count) {
    EXPECT_EQ(count, 3);
    const int64_t row = covered / 3;
    const int64_t i = 3 + row / 2, j = 1 + row % 2;
    EXPECT_EQ(a, ((i - 2) * 3 + j) * 5 + 1);
    EXPECT_EQ(b, (i * 4 + j) * 6 + 2);
    covered += count;
  });
  EXPECT_EQ(covered, region.num_elements());
  EXPECT_FALSE(single_run(region, from, to).has_value());
  EXPECT_EQ(single_run({{3, 0, 1}, {2, 3, 5}}, from, {{1, 0, 1}, {5, 3, 5}}),
            (std::pair<int64_t, int64_t>{15, 30}));
  EXPECT_TRUE(single_run({{}, {}}, {{}, {}}, {{}, {}}).has_value());
}

TEST(Box, PartitionsAreToldFromGapsAndOverlaps) {
  EXPECT_EQ(why_no_partition({{{0, 0}, {2, 3}}, {{2, 0}, {1, 3}}}, {3, 3}), "");
  EXPECT_EQ(why_no_partition({{{}, {}}}, {}), "");
  EXPECT_NE(why_no_partition({{{0, 0}, {2, 3}}}, {3, 3}), "");
  EXPECT_NE(why_no_partition({{{0, 0}, {2, 3}}, {{1, 0}, {2, 3}}}, {3, 3}), "");
  EXPECT_NE(why_no_partition({{{0, 0}, {4, 3}}}, {3, 3}), "");
}

TEST(Finite, FindsTheFirstValueWithAFullExponent) {
  for (const int64_t size : {1, 63, 64, 65, 1000}) {
    std::vector<float> values(static_cast<size_t>(size), -3.4e38F);
    const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
    EXPECT_EQ(first_non_finite(core::DType::kF32, bytes, size), -1);
    values.back() = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(first_non_finite(core::DType::kF32, bytes, size), size - 1);
    EXPECT_EQ(first_non_finite(core::DType::kI32, bytes, size), -1);
  }
}

TEST(Folder, NamesAreParsedExactly) {
  StepFolder folder;
  EXPECT_TRUE(parse_step_folder("step_0", folder));
  EXPECT_TRUE(parse_step_folder("step_12.3.partial", folder));
  EXPECT_EQ(folder.incarnation, 3);
  EXPECT_TRUE(parse_step_folder("step_12.3.rejected.2", folder));
  for (const char* name : {"step_", "step_01", "step_-1", "step_1.", "step_1.2", "step_1.2.partial.3",
                           "step_1 ", "Step_1", "step_99999999999999999999"}) {
    EXPECT_FALSE(parse_step_folder(name, folder)) << name;
  }
}

}  // namespace
}  // namespace phalanx::checkpoint
