#pragma once
// Register tiles and packing for the AVX-512 translation units. Include it after <immintrin.h> and after
//   #pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,avx2")
// Everything is in an anonymous namespace and forced inline, so that no symbol compiled for AVX-512 can be
// picked by the linker for another translation unit.
#include <cstdint>

#define PHX_INLINE inline __attribute__((always_inline))

namespace {

struct MacF32 {  // c += a b, one fp32 per unit
  static PHX_INLINE __m512 mac(__m512 c, const uint32_t* a, __m512 b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(*a))), b, c);
  }
};
struct MacBf16 {  // c += a0 b0 + a1 b1, two bf16 per unit
  static PHX_INLINE __m512 mac(__m512 c, const uint32_t* a, __m512 b) {
    return _mm512_dpbf16_ps(c, (__m512bh)_mm512_set1_epi32(static_cast<int>(*a)), (__m512bh)b);
  }
};

template <int kRows>
struct Tile {
  __m512 value[kRows][2];
};

// tile = sum over u of a(row, u) b(u, 32 columns); a(row, u) = a[u * kUnitStride + row * kRowStride].
template <class Mac, int kRows, int kUnitStride, int kRowStride>
PHX_INLINE void multiply_tile(Tile<kRows>& tile, const uint32_t* a, const uint32_t* b, int64_t units) {
  __m512 c[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) c[r][0] = c[r][1] = _mm512_setzero_ps();
  for (int64_t u = 0; u < units; ++u) {
    const __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      c[r][0] = Mac::mac(c[r][0], a + r * kRowStride, b0);
      c[r][1] = Mac::mac(c[r][1], a + r * kRowStride, b1);
    }
    a += kUnitStride;
    b += 32;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    tile.value[r][0] = c[r][0];
    tile.value[r][1] = c[r][1];
  }
}

PHX_INLINE __m512 widen(__m256i bf16) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
}

// 16 rows of 16 units -> 16 columns.
PHX_INLINE void transpose16(__m512i r[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

// How a source element becomes units.
struct FromF32 {  // fp32 -> fp32 unit
  using Source = float;
  static constexpr int kPerUnit = 1;
  static PHX_INLINE __m512i row(const float* p, int64_t count) {  // up to 16 units of one row, along k
    return _mm512_maskz_loadu_epi32(count >= 16 ? 0xffff : (1u << count) - 1, p);
  }
  static PHX_INLINE __m512i across(const float* p, int64_t, __mmask16 rows, int64_t) {
    return _mm512_maskz_loadu_epi32(rows, p);
  }
};
struct FromBf16Pairs {  // bf16 -> unit of two neighbours along k
  using Source = uint16_t;
  static constexpr int kPerUnit = 2;
  static PHX_INLINE __m512i row(const uint16_t* p, int64_t count) {
    return _mm512_maskz_loadu_epi16(count >= 32 ? 0xffffffffu : (1u << count) - 1, p);
  }
  static PHX_INLINE __m512i across(const uint16_t* p, int64_t stride, __mmask16 rows, int64_t left) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(rows, p));
    if (left < 2) return low;
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(rows, p + stride));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
  }
};
struct FromBf16Widened {  // bf16 -> fp32 unit, for machines where the bf16 dot product is slow or absent
  using Source = uint16_t;
  static constexpr int kPerUnit = 1;
  static PHX_INLINE __m512i row(const uint16_t* p, int64_t count) {
    const __mmask16 mask = count >= 16 ? 0xffff : (1u << count) - 1;
    return _mm512_castps_si512(widen(_mm256_maskz_loadu_epi16(mask, p)));
  }
  static PHX_INLINE __m512i across(const uint16_t* p, int64_t, __mmask16 rows, int64_t) {
    return _mm512_castps_si512(widen(_mm256_maskz_loadu_epi16(rows, p)));
  }
};

// dst[unit][kPanel] from `rows` rows of k elements each, contiguous along k. Whole vectors are stored, so up
// to 15 units beyond the end are overwritten.
template <class From, int kPanel>
PHX_INLINE void pack_k_contiguous(uint32_t* dst, const typename From::Source* src, int64_t stride, int rows,
                                  int64_t k) {
  constexpr int kStep = 16 * From::kPerUnit;
  const int64_t units = (k + From::kPerUnit - 1) / From::kPerUnit;
  for (int64_t k0 = 0, u0 = 0; k0 < k; k0 += kStep, u0 += 16) {
    const int64_t count = units - u0 < 16 ? units - u0 : 16;
    for (int half = 0; half < kPanel; half += 16) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        r[i] = half + i < rows ? From::row(src + (half + i) * stride + k0, k - k0) : _mm512_setzero_si512();
        // The same place of the next panel: so many short streams are more than the hardware foresees.
        _mm_prefetch(src + (half + i + kPanel) * stride + k0, _MM_HINT_T1);
      }
      transpose16(r);
      uint32_t* out = dst + u0 * kPanel + half;
      if (kPanel >= 16) {
        for (int i = 0; i < count; ++i) _mm512_storeu_si512(out + i * kPanel, r[i]);
      } else {
        for (int i = 0; i < count; ++i)
          _mm512_mask_storeu_epi32(out + i * kPanel, (1u << (kPanel & 15)) - 1, r[i]);
      }
    }
  }
}

// The same from a source that is contiguous along the rows of the panel.
template <class From, int kPanel>
PHX_INLINE void pack_k_strided(uint32_t* dst, const typename From::Source* src, int64_t stride, int rows,
                               int64_t k) {
  for (int64_t k0 = 0; k0 < k; k0 += From::kPerUnit, dst += kPanel) {
#pragma GCC unroll 2
    for (int half = 0; half < kPanel; half += 16) {
      const int valid = rows - half < 0 ? 0 : rows - half > 16 ? 16 : rows - half;
      const __m512i units =
          From::across(src + k0 * stride + half, stride, static_cast<__mmask16>((1u << valid) - 1), k - k0);
      if (kPanel >= 16) {
        _mm512_storeu_si512(dst + half, units);
      } else {
        _mm512_mask_storeu_epi32(dst, (1u << (kPanel & 15)) - 1, units);
      }
    }
  }
}

PHX_INLINE __mmask16 first_lanes(int64_t count) {
  return count >= 16 ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

PHX_INLINE __m256i round_bf16(__m512 x) {
  return (__m256i)_mm512_cvtneps_pbh(x);
}

}  // namespace
