#include "formats/quantisation.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "format_test_util.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "formats/tensor_spec.h"

namespace phalanx::formats {
namespace {

using core::DType;

std::vector<float> decode(const TensorFile& file, const std::string& name) {
  const TensorInfo* tensor = file.find(name);
  std::vector<float> values(count_elements(tensor->shape).value());
  to_float(tensor->dtype, file.bytes(*tensor).data(), int64_t(values.size()), values.data());
  return values;
}

std::vector<uint32_t> bits(const std::vector<float>& values) {
  std::vector<uint32_t> out;
  for (const float value : values) out.push_back(std::bit_cast<uint32_t>(value));
  return out;
}

TEST(Quantisation, DecodesRandomBlocksOfEveryTypeToTheBitsOfTheReference) {
  const GgufFile file(golden("all_types.gguf"));
  const SafetensorsFile expected(golden("all_types_expected.safetensors"));
  EXPECT_EQ(file.tensors().size(), 11u);
  for (const TensorInfo& tensor : file.tensors())
    EXPECT_EQ(bits(decode(file, tensor.name)), bits(values_of<float>(expected, tensor.name))) << tensor.name;
}

TEST(Quantisation, EncodesToTheBytesOfTheReference) {
  const SafetensorsFile file(golden("encodings.safetensors"));
  const auto encode = [](DType dtype, const std::vector<float>& values) {
    std::vector<uint8_t> out(values.size() / size_t(core::block_elements(dtype)) *
                             size_t(core::block_bytes(dtype)));
    from_float(dtype, values.data(), int64_t(values.size()), reinterpret_cast<std::byte*>(out.data()));
    return out;
  };
  const std::vector<float> values = values_of<float>(file, "values");
  EXPECT_EQ(encode(DType::kF16, values), values_of<uint8_t>(file, "F16"));
  EXPECT_EQ(encode(DType::kBF16, values), values_of<uint8_t>(file, "BF16"));
  EXPECT_EQ(encode(DType::kQ8_0, std::vector(values.begin(), values.begin() + 128)),
            values_of<uint8_t>(file, "Q8_0"));
  EXPECT_EQ(encode(DType::kQ8_0, values_of<float>(file, "more")), values_of<uint8_t>(file, "Q8_0_more"));
}

std::vector<uint8_t> encode_rows(DType dtype, const std::vector<float>& values,
                                 std::span<const float> importance = {}) {
  std::vector<uint8_t> out(values.size() / size_t(core::block_elements(dtype)) *
                           size_t(core::block_bytes(dtype)));
  from_float(dtype, values.data(), int64_t(values.size()), reinterpret_cast<std::byte*>(out.data()),
             importance);
  return out;
}

/// sqrt(sum w (decoded - x)^2 / sum w x^2), w of the column or 1.
double error_of(DType dtype, const std::vector<uint8_t>& bytes, const std::vector<float>& values,
                const std::vector<float>& importance = {}) {
  std::vector<float> decoded(values.size());
  to_float(dtype, reinterpret_cast<const std::byte*>(bytes.data()), int64_t(values.size()), decoded.data());
  double wrong = 0, all = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double w = importance.empty() ? 1 : importance[i % importance.size()], off = decoded[i] - values[i];
    wrong += w * off * off;
    all += w * values[i] * values[i];
  }
  return all == 0 ? wrong : std::sqrt(wrong / all);
}

/// The rows of `values` from `first` on: those before and after are of other sizes.
std::vector<float> rows_of(const std::vector<float>& values, size_t first, size_t count) {
  return {values.begin() + long(first * 256), values.begin() + long((first + count) * 256)};
}

std::vector<uint8_t> bytes_of_rows(DType dtype, const std::vector<uint8_t>& bytes, size_t first,
                                   size_t count) {
  const size_t row = size_t(256 / core::block_elements(dtype) * core::block_bytes(dtype));
  return {bytes.begin() + long(first * row), bytes.begin() + long((first + count) * row)};
}

TEST(Quantisation, EncodesTheOldBlockTypesToTheBytesOfTheReference) {
  const SafetensorsFile file(golden("quants.safetensors"));
  const std::vector<float> values = values_of<float>(file, "values");
  for (const DType dtype : {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1})
    EXPECT_EQ(encode_rows(dtype, values), values_of<uint8_t>(file, std::string(core::name(dtype))))
        << core::name(dtype);
}

TEST(Quantisation, DecodesQ5KToTheBitsOfTheReference) {
  const SafetensorsFile file(golden("quants.safetensors"));
  const std::vector<uint8_t> bytes = values_of<uint8_t>(file, "Q5_K");
  std::vector<float> decoded(values_of<float>(file, "values").size());
  to_float(DType::kQ5_K, reinterpret_cast<const std::byte*>(bytes.data()), int64_t(decoded.size()),
           decoded.data());
  EXPECT_EQ(bits(decoded), bits(values_of<float>(file, "Q5_K_decoded")));
}

TEST(Quantisation, SearchesScalesAsGoodAsTheReferences) {
  const SafetensorsFile file(golden("quants.safetensors"));
  const std::vector<float> values = values_of<float>(file, "values");
  for (const DType dtype : {DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    const std::vector<uint8_t> ours = encode_rows(dtype, values),
                               theirs = values_of<uint8_t>(file, std::string(core::name(dtype)));
    for (const auto& [first, count] : {std::pair(0, 8), {8, 8}, {16, 4}, {20, 4}, {29, 1}, {30, 18}}) {
      const std::vector<float> rows = rows_of(values, size_t(first), size_t(count));
      const double mine = error_of(dtype, bytes_of_rows(dtype, ours, size_t(first), size_t(count)), rows);
      const double other = error_of(dtype, bytes_of_rows(dtype, theirs, size_t(first), size_t(count)), rows);
      EXPECT_LE(mine, 1.02 * other + 1e-7)
          << core::name(dtype) << ", rows from " << first << ", ratio " << mine / other;
    }
  }
}

TEST(Quantisation, SpendsPrecisionWhereItIsImportantAsTheReferenceDoes) {
  const SafetensorsFile file(golden("quants.safetensors"));
  const std::vector<float> values = values_of<float>(file, "values"),
                           importance = values_of<float>(file, "importance");
  for (const DType dtype :
       {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    const std::vector<uint8_t> ours = encode_rows(dtype, values, importance),
                               theirs =
                                   values_of<uint8_t>(file, std::string(core::name(dtype)) + "_weighted"),
                               plain = encode_rows(dtype, values);
    for (const auto& [first, count] : {std::pair(0, 8), {8, 8}, {16, 4}, {20, 4}, {30, 18}}) {
      const std::vector<float> rows = rows_of(values, size_t(first), size_t(count));
      const auto error = [&, first = first, count = count](const std::vector<uint8_t>& bytes) {
        return error_of(dtype, bytes_of_rows(dtype, bytes, size_t(first), size_t(count)), rows, importance);
      };
      EXPECT_LE(error(ours), 1.03 * error(theirs))
          << core::name(dtype) << ", rows from " << first << ", ratio " << error(ours) / error(theirs);
      EXPECT_LT(error(ours), error(plain)) << core::name(dtype) << ", rows from " << first;
    }
  }
}

TEST(Quantisation, EqualValuesAndZerosStayWhatTheyAre) {
  for (const DType dtype : {DType::kQ4_1, DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    for (const float value : {0.0f, 0.5f, -0.5f}) {
      const std::vector<float> values(256, value), ones(256, 1.0f), none(256, 0.0f);
      EXPECT_LE(error_of(dtype, encode_rows(dtype, values), values), value == 0 ? 0 : 1e-3);
      EXPECT_LE(error_of(dtype, encode_rows(dtype, values, ones), values), value == 0 ? 0 : 1e-3);
      EXPECT_LE(error_of(dtype, encode_rows(dtype, values, none), values), value == 0 ? 0 : 1e-3)
          << core::name(dtype) << " of a column that nothing depends on";
    }
  }
}

TEST(Quantisation, EveryHalfSurvivesTheWayToFloatAndBack) {
  for (uint32_t half = 0; half < 65536; ++half) {
    const float value = half_to_float(uint16_t(half));
    const bool is_nan = (half & 0x7fff) > 0x7c00;
    ASSERT_EQ(std::isnan(value), is_nan) << half;
    ASSERT_EQ(float_to_half(value), is_nan ? half | 0x200 : half);
  }
}

TEST(Quantisation, EveryBfloat16SurvivesTheWayToFloatAndBack) {
  for (uint32_t half = 0; half < 65536; ++half) {
    const bool is_nan = (half & 0x7fff) > 0x7f80;
    ASSERT_EQ(float_to_bfloat16(bfloat16_to_float(uint16_t(half))), is_nan ? half | 64 : half);
  }
}

TEST(Quantisation, ManyThreadsGiveTheValuesOfOne) {
  constexpr int64_t kCount = 5 * (1 << 20) + 32 * 7;
  std::vector<float> values(kCount);
  for (int64_t i = 0; i < kCount; ++i) values[size_t(i)] = float(i % 32) - 16;
  values[3] = 64;
  std::vector<std::byte> encoded(size_t(kCount / 32 * 34));
  from_float(DType::kQ8_0, values.data(), kCount, encoded.data());
  std::vector<float> decoded(kCount), one_block(32);
  to_float(DType::kQ8_0, encoded.data(), kCount, decoded.data());
  for (int64_t block = 0; block < kCount / 32; ++block) {
    to_float(DType::kQ8_0, encoded.data() + 34 * block, 32, one_block.data());
    ASSERT_EQ(0, std::memcmp(one_block.data(), &decoded[size_t(32 * block)], 128)) << block;
  }
}

TEST(Quantisation, ScalesThatAreNotNumbersAreDecodedAndEncodedWithoutFault) {
  std::vector<std::byte> block(256, std::byte{0xff});
  std::vector<float> values(256);
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                            DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    to_float(dtype, block.data(), core::block_elements(dtype), values.data());
    EXPECT_TRUE(std::isnan(values[0])) << core::name(dtype);
  }
  for (const float value : {std::numeric_limits<float>::infinity(), std::nanf(""), 1e-45f, -3e38f}) {
    std::vector<float> row(256, 1.0f), importance(256, 1.0f);
    row[5] = value;
    for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                              DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
      encode_rows(dtype, row);
      encode_rows(dtype, row, importance);
    }
  }
}

TEST(Quantisation, RefusesIntegersAndHalfBlocks) {
  std::vector<std::byte> bytes(64);
  std::vector<float> values(64);
  EXPECT_THROW(to_float(DType::kI32, bytes.data(), 4, values.data()), core::Error);
  EXPECT_THROW(to_float(DType::kQ8_0, bytes.data(), 16, values.data()), core::Error);
  EXPECT_THROW(from_float(DType::kI8, values.data(), 32, bytes.data()), core::Error);
}

}  // namespace
}  // namespace phalanx::formats
