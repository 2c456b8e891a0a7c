#include "core/dtype.h"

#include <array>

#include "core/error.h"

namespace phalanx::core {

namespace {

struct Layout {
  std::string_view name;
  int64_t elements;  // per block
  int64_t bytes;     // per block
};

// In the order of the enumeration.
constexpr std::array<Layout, 18> kLayouts = {{
    {"F64", 1, 8},
    {"F32", 1, 4},
    {"F16", 1, 2},
    {"BF16", 1, 2},
    {"I64", 1, 8},
    {"I32", 1, 4},
    {"I16", 1, 2},
    {"I8", 1, 1},
    {"U8", 1, 1},
    {"BOOL", 1, 1},
    {"Q8_0", 32, 34},
    {"Q4_0", 32, 18},
    {"Q4_1", 32, 20},
    {"Q5_0", 32, 22},
    {"Q5_1", 32, 24},
    {"Q4_K", 256, 144},
    {"Q5_K", 256, 176},
    {"Q6_K", 256, 210},
}};
static_assert(kLayouts.size() == static_cast<size_t>(DType::kQ6_K) + 1);

const Layout& layout(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  if (index >= kLayouts.size()) fail(ExitCode::kBug, "dtype {} does not exist", index);
  return kLayouts[index];
}

}  // namespace

std::string_view name(DType dtype) {
  return layout(dtype).name;
}
int64_t block_elements(DType dtype) {
  return layout(dtype).elements;
}
int64_t block_bytes(DType dtype) {
  return layout(dtype).bytes;
}

}  // namespace phalanx::core
