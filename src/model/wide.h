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

/// Four of them at once, with the bits of sum().
[[gnu::always_inline]] inline void sum_four(const Floats (&v)[4], float* sums) {
  using Half = float __attribute__((vector_size(32)));
  using Quarter = float __attribute__((vector_size(16)));
  using Lanes = int32_t __attribute__((vector_size(16)));
  Quarter q[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    Half halves[2];
    std::memcpy(halves, &v[i], sizeof(v[i]));
    const Half h = halves[0] + halves[1];
    Quarter quarters[2];
    std::memcpy(quarters, &h, sizeof(h));
    q[i] = quarters[0] + quarters[1];
  }
  const Lanes low = {0, 1, 4, 5}, high = {2, 3, 6, 7}, even = {0, 2, 4, 6}, odd = {1, 3, 5, 7};
  const Quarter first = __builtin_shuffle(q[0], q[1], low) + __builtin_shuffle(q[0], q[1], high);
  const Quarter second = __builtin_shuffle(q[2], q[3], low) + __builtin_shuffle(q[2], q[3], high);
  const Quarter all = __builtin_shuffle(first, second, even) + __builtin_shuffle(first, second, odd);
  std::memcpy(sums, &all, sizeof(all));
}

[[gnu::always_inline]] inline Floats larger(const Floats& a, const Floats& b) {
  return a > b ? a : b;
}
[[gnu::always_inline]] inline float largest(const Floats& v) {
  float lanes[16], largest = v[0];
  std::memcpy(lanes, &v, sizeof(v));
  for (const float lane : lanes) largest = largest > lane ? largest : lane;
  return largest;
}

/// e^x for x <= 0: 2^n times a polynomial of the rest; 0 below e^-69 (also of -inf).
[[gnu::always_inline]] inline Floats exponential(const Floats& x) {
  using Integers = int32_t __attribute__((vector_size(64)));
  const Floats least = Floats{} - 100.0F, scaled = x * 1.44269504088896341F;
  const Floats t = scaled < least ? least : scaled;
  const Floats shifted = t + 12582912.0F, n = shifted - 12582912.0F,
               f = t - n;  // 1.5 x 2^23: rounds to integers
  Floats p = Floats{} + 1.54035304e-4F;
  p = p * f + 1.33335581e-3F;
  p = p * f + 9.61812911e-3F;
  p = p * f + 5.55041087e-2F;
  p = p * f + 2.40226507e-1F;
  p = p * f + 6.93147182e-1F;
  p = p * f + 1.0F;
  Integers bits, exponent;
  std::memcpy(&bits, &p, sizeof(p));
  std::memcpy(&exponent, &shifted, sizeof(shifted));
  bits += exponent << 23;  // the low bits of `shifted` are n
  Floats power;
  std::memcpy(&power, &bits, sizeof(bits));
  return scaled < least ? Floats{} : power;
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
