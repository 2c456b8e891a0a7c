#include <immintrin.h>

// The portable kernels for avx2.
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define PHX_VECTOR_BYTES 32
#define PHX_KERNEL_TABLE kAvx2Kernels
#include "ops/cpu/elementwise.inc"
#pragma GCC pop_options
