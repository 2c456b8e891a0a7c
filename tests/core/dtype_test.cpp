#include "core/dtype.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace phalanx::core {
namespace {

TEST(DType, KnowsTheBlocksOfGgml) {
  struct Row {
    DType dtype;
    std::string_view name;
    int64_t elements, bytes;
  };
  const std::vector<Row> rows = {
      {DType::kF64, "F64", 1, 8},       {DType::kF32, "F32", 1, 4},       {DType::kF16, "F16", 1, 2},
      {DType::kBF16, "BF16", 1, 2},     {DType::kI64, "I64", 1, 8},       {DType::kI32, "I32", 1, 4},
      {DType::kI16, "I16", 1, 2},       {DType::kI8, "I8", 1, 1},         {DType::kU8, "U8", 1, 1},
      {DType::kBool, "BOOL", 1, 1},     {DType::kQ8_0, "Q8_0", 32, 34},   {DType::kQ4_0, "Q4_0", 32, 18},
      {DType::kQ4_1, "Q4_1", 32, 20},   {DType::kQ5_0, "Q5_0", 32, 22},   {DType::kQ5_1, "Q5_1", 32, 24},
      {DType::kQ4_K, "Q4_K", 256, 144}, {DType::kQ5_K, "Q5_K", 256, 176}, {DType::kQ6_K, "Q6_K", 256, 210}};
  for (const Row& row : rows) {
    EXPECT_EQ(name(row.dtype), row.name);
    EXPECT_EQ(block_elements(row.dtype), row.elements) << row.name;
    EXPECT_EQ(block_bytes(row.dtype), row.bytes) << row.name;
    EXPECT_EQ(is_quantised(row.dtype), row.elements > 1) << row.name;
  }
  EXPECT_THROW(name(static_cast<DType>(200)), Error);
}

}  // namespace
}  // namespace phalanx::core
