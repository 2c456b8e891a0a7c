// The portable kernels for generic (SSE2 on x86-64, whatever the compiler has elsewhere).
#define PHX_VECTOR_BYTES 16
#define PHX_KERNEL_TABLE kGenericKernels
#include "ops/cpu/elementwise.inc"
