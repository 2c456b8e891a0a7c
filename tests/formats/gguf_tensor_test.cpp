#include "formats/gguf_tensor.h"

#include <gtest/gtest.h>

#include <numeric>

#include "core/error.h"
#include "format_test_util.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"

namespace phalanx::formats {
namespace {

using core::DType;
using Kind = FormatErrorKind;

TEST(GgufTensor, RowsOfTwoHeadsOfFourAreInterleavedInGguf) {
  const std::vector<uint8_t> hf = {0, 1, 2, 3, 4, 5, 6, 7};
  std::vector<uint8_t> gguf(8), back(8);
  rows_to_gguf(std::as_bytes(std::span(hf)), 2, 4, std::as_writable_bytes(std::span(gguf)));
  EXPECT_EQ(gguf, (std::vector<uint8_t>{0, 2, 1, 3, 4, 6, 5, 7}));
  rows_to_hf(std::as_bytes(std::span(gguf)), 2, 4, std::as_writable_bytes(std::span(back)));
  EXPECT_EQ(back, hf);
  EXPECT_THROW(rows_to_hf(std::as_bytes(std::span(gguf)), 1, 3, std::as_writable_bytes(std::span(back))),
               core::Error);
}

class GgufParametersTest : public ::testing::Test {
 protected:
  /// A file whose tensors hold 0, 1, 2, ...; seen through `layout`.
  std::shared_ptr<const TensorFile> seen(const std::vector<TensorSpec>& tensors,
                                         const std::vector<GgufTensor>& layout) const {
    GgufWriter writer(folder_ / "x.gguf", tensors, GgufPairs().text("general.architecture", "test"));
    for (const TensorSpec& tensor : tensors) {
      std::vector<float> values(*count_elements(tensor.shape));
      std::iota(values.begin(), values.end(), 0.0f);
      writer.write_floats(tensor.name, values);
    }
    writer.finish();
    return as_gguf_parameters(std::make_shared<GgufFile>(folder_ / "x.gguf"), layout, {"ignored"}, "x.gguf");
  }
  const TempFolder folder_;
};

TEST_F(GgufParametersTest, PartsLieBelowEachOtherAndUponEachOther) {
  const auto file =
      seen({{"qkv", DType::kF32, {5, 2}}, {"exps", DType::kF32, {2, 1, 3}}, {"ignored", DType::kF32, {1}}},
           {{.name = "qkv", .parts = {{"q", {3, 2}}, {"k", {1, 2}}, {"v", {1, 2}}}},
            {.name = "exps", .parts = {{"e0", {1, 3}}, {"e1", {1, 3}}}, .is_stack = true}});
  EXPECT_EQ(file->tensors().size(), 5u);
  EXPECT_EQ(file->find("k")->shape, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(values_of<float>(*file, "q"), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(values_of<float>(*file, "v"), (std::vector<float>{8, 9}));
  EXPECT_EQ(values_of<float>(*file, "e1"), (std::vector<float>{3, 4, 5}));
}

TEST_F(GgufParametersTest, RowsComeInOrderAndNormsWithoutTheirOneAsOftenAsTheyAreAskedFor) {
  const auto file = seen({{"q", DType::kF16, {4}}, {"norm", DType::kF16, {3}}, {"other", DType::kF32, {1}}},
                         {{.name = "q", .parts = {{"query", {4}}}, .num_heads = 1},
                          {.name = "norm", .parts = {{"weight", {3}}}, .is_one_more = true}});
  for (int round = 0; round < 2; ++round) {
    std::vector<float> query(4);
    to_float(DType::kF16, file->bytes(*file->find("query")).data(), 4, query.data());
    EXPECT_EQ(query, (std::vector<float>{0, 2, 1, 3}));
    EXPECT_EQ(file->find("weight")->dtype, DType::kF32);
    EXPECT_EQ(values_of<float>(*file, "weight"), (std::vector<float>{-1, 0, 1}));
    EXPECT_EQ(values_of<float>(*file, "other"), std::vector<float>{0});  // no entry: its own name
    file->release_pages();
  }
}

TEST_F(GgufParametersTest, OtherShapesAndQuantisedVectorsAreErrors) {
  expect_format_error(
      Kind::kShape,
      [&] {
        seen({{"qkv", DType::kF32, {4, 2}}}, {{.name = "qkv", .parts = {{"q", {3, 2}}, {"k", {2, 2}}}}});
      },
      "a row too few");
  expect_format_error(
      Kind::kUnsupported,
      [&] {
        seen({{"bias", DType::kQ8_0, {32}}}, {{.name = "bias", .parts = {{"q", {16}}, {"k", {16}}}}});
      },
      "a quantised vector");
}

}  // namespace
}  // namespace phalanx::formats
