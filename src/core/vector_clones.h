#pragma once

/// For a function whose loop GCC is to compile for the widest vectors of each machine; the fitting clone is
/// picked at load time. Such a function must not throw: GCC 12 takes its resolver for noexcept. Other
/// compilers, which build for checks and not for speed, get the plain function.
#if defined(__GNUC__) && !defined(__clang__)
#define PHX_VECTOR_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#else
#define PHX_VECTOR_CLONES
#endif
