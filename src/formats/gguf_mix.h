#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/dtype.h"

// Which type each tensor of a GGUF file gets: "q4_k_m" and its like are mixes, in which tensors that hurt
// more are stored with more bits. The choices are llama.cpp's (llama_model_quantize of October 2026).
namespace phalanx::formats {

struct GgufMix {
  std::string_view name;  ///< as users know it: f32 f16 bf16 q8_0 q6_k q5_k_m ...
  uint32_t file_type;     ///< general.file_type
  core::DType base;       ///< of most matrices
};

std::span<const GgufMix> gguf_mixes();
/// @throws core::Error kBadConfig listing the known names.
const GgufMix& gguf_mix(std::string_view name);

/// What the choice depends on beside the tensor itself.
struct GgufModel {
  std::string architecture;  ///< general.architecture
  int64_t num_layers, num_heads, num_key_value_heads;
  int64_t num_experts = 0;
  bool has_output = true;       ///< false: the output matrix is the embedding's
  bool has_importance = false;  ///< errors are weighed by an importance matrix
};

/// The type of the tensor `name` (GGUF's name) of this shape.
///
/// F32: vectors, norms, routers and tables of positions. Output (or the embedding that takes its place):
/// Q6_K, with q8_0 Q8_0, and Q8_0 where its rows do not fit the base. Others: the base, or what the mix says
/// of the tensor and its layer. Rows that are no multiple of the block fall back: Q4_K to Q5_0, Q5_K to Q5_1,
/// Q6_K to Q8_0, and blocks of 32 to F16.
core::DType dtype_in_mix(const GgufMix& mix, const GgufModel& model, std::string_view name,
                         std::span<const int64_t> shape);

}  // namespace phalanx::formats
