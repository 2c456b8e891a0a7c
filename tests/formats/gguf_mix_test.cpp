#include "formats/gguf_mix.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "format_test_util.h"

namespace phalanx::formats {
namespace {

using core::DType;

const std::map<char, DType> kLetters = {
    {'f', DType::kF32},  {'h', DType::kF16},  {'0', DType::kQ4_0}, {'1', DType::kQ4_1}, {'5', DType::kQ5_0},
    {'6', DType::kQ5_1}, {'8', DType::kQ8_0}, {'k', DType::kQ4_K}, {'m', DType::kQ5_K}, {'n', DType::kQ6_K}};

TEST(GgufMix, ChoosesTheTypesThatLlamaCppChooses) {
  std::ifstream stream(golden("gguf_mixes.json"));
  for (const nlohmann::json& row : nlohmann::json::parse(stream)) {
    const nlohmann::json& shapes = row["shapes"];
    const GgufModel model = {row["architecture"], row["layers"],  row["heads"],
                             row["kv_heads"],     row["experts"], shapes.contains("output.weight")};
    for (const auto& [mix, tensors] : row["types"].items()) {
      for (const auto& [pattern, letters] : tensors.items()) {
        const auto shape = shapes[pattern].get<std::vector<int64_t>>();
        const std::string expected = letters;
        for (size_t layer = 0; layer < expected.size(); ++layer) {
          std::string name = pattern;
          if (const size_t star = name.find('*'); star != std::string::npos)
            name.replace(star, 1, std::to_string(layer));
          EXPECT_EQ(core::name(dtype_in_mix(gguf_mix(mix), model, name, shape)),
                    core::name(kLetters.at(expected[layer])))
              << row["name"] << ", " << mix << ", " << name;
        }
      }
    }
  }
}

TEST(GgufMix, WithImportanceTheFirstDownProjectionsOfQ4_0AndQ5_0GetAMinimum) {
  GgufModel model{"llama", 16, 8, 8};
  const std::vector<int64_t> shape = {256, 512};
  for (const auto& [mix, plain, with_minimum] :
       {std::tuple("q4_0", DType::kQ4_0, DType::kQ4_1), {"q5_0", DType::kQ5_0, DType::kQ5_1}}) {
    for (const bool importance : {false, true}) {
      model.has_importance = importance;
      EXPECT_EQ(dtype_in_mix(gguf_mix(mix), model, "blk.1.ffn_down.weight", shape),
                importance ? with_minimum : plain);
      EXPECT_EQ(dtype_in_mix(gguf_mix(mix), model, "blk.2.ffn_down.weight", shape), plain);
    }
  }
}

TEST(GgufMix, PlainTypesAreForMatricesOnly) {
  const GgufModel model{"llama", 16, 8, 8};
  EXPECT_EQ(dtype_in_mix(gguf_mix("bf16"), model, "blk.1.attn_v.weight", std::vector<int64_t>{5, 7}),
            DType::kBF16);
  EXPECT_EQ(dtype_in_mix(gguf_mix("f16"), model, "output.weight", std::vector<int64_t>{5, 7}), DType::kF16);
  EXPECT_EQ(dtype_in_mix(gguf_mix("f16"), model, "output_norm.weight", std::vector<int64_t>{7}), DType::kF32);
  EXPECT_EQ(dtype_in_mix(gguf_mix("f16"), model, "blk.1.attn_q.bias", std::vector<int64_t>{7}), DType::kF32);
}

TEST(GgufMix, RefusesAnUnknownNameWithTheKnownOnes) {
  try {
    gguf_mix("q4_k_xl");
    FAIL();
  } catch (const core::Error& error) {
    EXPECT_EQ(std::string(error.what()),
              "q4_k_xl is not a type of GGUF files that can be written; known are f32, f16, bf16, q8_0, "
              "q6_k, q5_k_m, "
              "q5_k_s, q5_1, q5_0, q4_k_m, q4_k_s, q4_1, q4_0");
  }
}

}  // namespace
}  // namespace phalanx::formats
