#pragma once
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns inside its own avx512fintrin.h
// What this machine can do, measured in the same run as everything else: multiplications in registers and
// streams from memory, by as many threads as the operations use.
#include <ATen/Parallel.h>
#include <immintrin.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <vector>

#include "ops/cpu/isa.h"

namespace phalanx::bench {

inline double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
inline double best_of(int rounds, const std::function<void()>& work) {
  double best = 1e30;
  for (int i = 0; i < rounds; ++i) best = std::min(best, seconds_of(work));
  return best;
}
inline void on_every_thread(const std::function<void(int64_t thread)>& work) {
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) work(i);
  });
}

constexpr int64_t kLoops = 4'000'000;
constexpr int kChains = 12;  // independent sums: more than latency x units on any machine

// Each returns the FLOPs that it did.
[[gnu::target("avx512f,avx512bf16")]] inline double bf16_loop(volatile float* sink) {
  __m512 c[kChains];
#pragma GCC unroll 12
  for (auto& x : c) x = _mm512_set1_ps(1.0F);
  const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  for (int64_t i = 0; i < kLoops; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      c[j] = _mm512_dpbf16_ps(c[j], a, a);
      asm volatile("" : "+v"(c[j]));  // keeps each sum in its register
    }
  }
#pragma GCC unroll 12
  for (auto& x : c) *sink = _mm512_reduce_add_ps(x);
  return static_cast<double>(kLoops) * kChains * 64;
}
[[gnu::target("avx512f")]] inline double fp32_loop_avx512(volatile float* sink) {
  __m512 c[kChains];
#pragma GCC unroll 12
  for (auto& x : c) x = _mm512_set1_ps(1.0F);
  const __m512 a = _mm512_set1_ps(0.999F);
  for (int64_t i = 0; i < kLoops; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      c[j] = _mm512_fmadd_ps(c[j], a, a);
      asm volatile("" : "+v"(c[j]));
    }
  }
#pragma GCC unroll 12
  for (auto& x : c) *sink = _mm512_reduce_add_ps(x);
  return static_cast<double>(kLoops) * kChains * 32;
}
[[gnu::target("avx2,fma")]] inline double fp32_loop_avx2(volatile float* sink) {
  __m256 c[kChains];
#pragma GCC unroll 12
  for (auto& x : c) x = _mm256_set1_ps(1.0F);
  const __m256 a = _mm256_set1_ps(0.999F);
  for (int64_t i = 0; i < kLoops; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      c[j] = _mm256_fmadd_ps(c[j], a, a);
      asm volatile("" : "+x"(c[j]));
    }
  }
#pragma GCC unroll 12
  for (auto& x : c) *sink = _mm256_cvtss_f32(x);
  return static_cast<double>(kLoops) * kChains * 16;
}
inline double scalar_loop(volatile float* sink) {
  float c[kChains] = {};
  for (int64_t i = 0; i < kLoops; ++i) {
    for (float& x : c) {
      x = x * 0.999F + 0.5F;
      asm volatile("" : "+x"(x));
    }
  }
  for (const float x : c) *sink = x;
  return static_cast<double>(kLoops) * kChains * 2;
}

struct Peaks {
  double fp32_flops, bf16_flops;    // per second; bf16 = fp32 where the machine has no bf16 product
  double read_bytes, copied_bytes;  // per second; a copy counts read and written bytes
};

inline double flops_per_second(double (*loop)(volatile float*)) {
  std::vector<float> sinks(static_cast<size_t>(at::get_num_threads()) * 16);
  double flops = 0;
  const double seconds = best_of(5, [&] {
    on_every_thread([&](int64_t i) {
      const double done = loop(&sinks[static_cast<size_t>(i) * 16]);
      if (i == 0) flops = done;
    });
  });
  return flops * at::get_num_threads() / seconds;
}

inline Peaks measure_peaks() {
  const auto& isa = ops::cpu::isa();
  Peaks peaks{};
  peaks.fp32_flops = flops_per_second(isa.avx512 ? fp32_loop_avx512
                                      : isa.avx2 ? fp32_loop_avx2
                                                 : scalar_loop);
  peaks.bf16_flops = isa.fast_bf16_dot() ? flops_per_second(bf16_loop) : peaks.fp32_flops;
  const int64_t count = int64_t{512} << 17;  // 512 MiB of 8-byte words
  std::vector<uint64_t> source(static_cast<size_t>(count), 1), target(static_cast<size_t>(count));
  const auto per_thread = [&](const std::function<void(int64_t, int64_t)>& work) {
    return best_of(4, [&] { at::parallel_for(0, count, 1 << 16, work); });
  };
  std::atomic<uint64_t> total{0};
  peaks.read_bytes = static_cast<double>(count) * 8 / per_thread([&](int64_t begin, int64_t end) {
                       uint64_t lanes[8] = {};
                       for (int64_t i = begin; i + 8 <= end; i += 8) {
                         for (int j = 0; j < 8; ++j) lanes[j] += source[static_cast<size_t>(i + j)];
                       }
                       for (const uint64_t lane : lanes) total += lane;
                     });
  peaks.copied_bytes =
      2.0 * static_cast<double>(count) * 8 / per_thread([&](int64_t begin, int64_t end) {
        std::memcpy(target.data() + begin, source.data() + begin, static_cast<size_t>(end - begin) * 8);
      });
  return peaks;
}

}  // namespace phalanx::bench
