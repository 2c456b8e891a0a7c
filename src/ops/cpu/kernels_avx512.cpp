#include <immintrin.h>

// The portable kernels for avx512.
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,prefer-vector-width=512")
#define PHX_VECTOR_BYTES 64
#define PHX_KERNEL_TABLE kAvx512Kernels
#include "ops/cpu/elementwise.inc"
#pragma GCC pop_options
