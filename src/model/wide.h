#pragma once
#include <c10/util/BFloat16.h>

#include <cstdint>
#include <cstring>

/// Sixteen fp32 lanes in GCC's vector types. The same source becomes AVX-512, AVX2 or SSE code, depending on
/// the function that it is inlined into: a kernel is written once as an always_inline body, PHALANX_DISPATCH
/// makes one copy per instruction set and picks one at run time.
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors are only passed between inlined functions
namespace phalanx::model::wide {

using Floats = float __attribute__((vector_size(64)));
using Words = uint32_t __attribute__((vector_size(64)));
inline constexpr int64_t kStep = 32;  // elements that one Pair holds

struct Pair {
  Floats first, second;
};

/// 32 stored elements as fp32. bf16: `first` holds the even elements, `second` the odd ones, which costs one
/// shift and one mask; fp32: the first and the second sixteen. Both sides of a product use the same order, so
/// it never shows.
[[gnu::always_inline]] inline Pair load(const c10::BFloat16* source) {
  Words bits;
  std::memcpy(&bits, source, sizeof(bits));
  const Words even = bits << 16, odd = bits & 0xFFFF0000U;
  Pair pair;
  std::memcpy(&pair.first, &even, sizeof(even));
  std::memcpy(&pair.second, &odd, sizeof(odd));
  return pair;
}
[[gnu::always_inline]] inline Pair load(const float* source) {
  Pair pair;
  std::memcpy(&pair, source, sizeof(pair));
  return pair;
}

/// Writes a Pair back in the order of the elements of T.
[[gnu::always_inline]] inline void unstage(const Pair& pair, float* out, const c10::BFloat16*) {
  for (int i = 0; i < 16; ++i) {
    out[2 * i] = pair.first[i];
    out[2 * i + 1] = pair.second[i];
  }
}
[[gnu::always_inline]] inline void unstage(const Pair& pair, float* out, const float*) {
  std::memcpy(out, &pair, sizeof(pair));
}

[[gnu::always_inline]] inline float sum(const Floats& v) {
  using Half = float __attribute__((vector_size(32)));
  using Quarter = float __attribute__((vector_size(16)));
  Half halves[2];
  std::memcpy(halves, &v, sizeof(v));
  const Half h = halves[0] + halves[1];
  Quarter quarters[2];
  std::memcpy(quarters, &h, sizeof(h));
  const Quarter q = quarters[0] + quarters[1];
  return (q[0] + q[2]) + (q[1] + q[3]);
}

/// At most kStep elements, the rest zero.
template <typename T>
[[gnu::always_inline]] inline Pair load_tail(const T* source, int64_t count) {
  T padded[kStep] = {};
  std::memcpy(static_cast<void*>(padded), source, static_cast<size_t>(count) * sizeof(T));
  return load(padded);
}

inline int64_t num_steps(int64_t elements) {
  return (elements + kStep - 1) / kStep;
}

}  // namespace phalanx::model::wide

/// Defines `name` with the signature of the always_inline template body##<T>: chooses the instruction set on
/// every call.
#define PHALANX_DISPATCH(name, body, parameters, arguments)                                                  \
  template <typename T>                                                                                      \
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")]] void name##_avx512  \
      parameters {                                                                                           \
    body<T> arguments;                                                                                       \
  }                                                                                                          \
  template <typename T>                                                                                      \
  [[gnu::target("avx2,fma")]] void name##_avx2 parameters {                                                  \
    body<T> arguments;                                                                                       \
  }                                                                                                          \
  template <typename T>                                                                                      \
  void name parameters {                                                                                     \
    static const bool has_avx512 = __builtin_cpu_supports("avx512f") &&                                      \
                                   __builtin_cpu_supports("avx512bw") &&                                     \
                                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"); \
    static const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");            \
    if (has_avx512) return name##_avx512<T> arguments;                                                       \
    if (has_avx2) return name##_avx2<T> arguments;                                                           \
    body<T> arguments;                                                                                       \
  }
