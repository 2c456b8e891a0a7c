#pragma once
#include <cstdint>

// The codecs behind to_float and from_float of tensor_file.h, for whoever wants one value.
//
// Every decoder gives the same bits as the Python package gguf 0.19.0: the products are formed in fp32, in
// the order written in quantisation.cpp, and never fused. Encoders: F32, F16 and BF16 round to nearest even
// (a NaN becomes quiet); block_encoders.h has the block types.
namespace phalanx::formats {

float half_to_float(uint16_t half);       ///< exact
uint16_t float_to_half(float value);      ///< nearest even; beyond 65519 infinity
float bfloat16_to_float(uint16_t bits);   ///< exact
uint16_t float_to_bfloat16(float value);  ///< nearest even

}  // namespace phalanx::formats
