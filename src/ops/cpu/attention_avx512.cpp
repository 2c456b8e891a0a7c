#include <immintrin.h>

#include "ops/cpu/attention_kernels.h"

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 suspects its own intrinsics
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,avx2")
#include "ops/cpu/tile_avx512.h"

namespace phalanx::ops::cpu::avx512 {
namespace {

constexpr int kPanel = 8;          // rows of a tile: keys, or components of a head
constexpr int kLanes = 32;         // queries of a tile
constexpr int kForwardKeys = 128;  // keys per round
constexpr int kQueries = 64;       // queries per round of the backward
constexpr int kBackwardKeys = 64;
constexpr float kLog2E = 1.44269504088896340736f;

PHX_INLINE int64_t round_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}
PHX_INLINE int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// 2^x for x <= 0 or so: 2^round(x) times a polynomial of the rest (minimax on [-0.5, 0.5], error 2e-8).
PHX_INLINE __m512 exp2_ps(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-200.0f), x);  // -inf becomes 0; in this order a NaN stays a NaN
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
               f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(1.54035304e-4f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.33335581e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.61812911e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.55041087e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40226507e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93147182e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

PHX_INLINE __m512 load(const float* p, __mmask16 m) {
  return _mm512_maskz_loadu_ps(m, p);
}
PHX_INLINE __m512 load(const uint16_t* p, __mmask16 m) {
  return widen(_mm256_maskz_loadu_epi16(m, p));
}
PHX_INLINE void store(float* p, __mmask16 m, __m512 x) {
  _mm512_mask_storeu_ps(p, m, x);
}
PHX_INLINE void store(uint16_t* p, __mmask16 m, __m512 x) {
  _mm256_mask_storeu_epi16(p, m, round_bf16(x));
}

// How probabilities become operands.
struct UnitF32 {
  static constexpr int kPer = 1;
  // Rows r and r + 1 of 16 lanes as a right-hand operand [unit][32 lanes].
  static PHX_INLINE void pair(uint32_t* panel, int row, int lane, __m512 a, __m512 b) {
    _mm512_storeu_ps(panel + row * kLanes + lane, a);
    _mm512_storeu_ps(panel + (row + 1) * kLanes + lane, b);
  }
  // 16 lanes of one row as a left-hand operand [row][kQueries].
  static PHX_INLINE void row(uint32_t* rows, int row, int lane, __m512 a) {
    _mm512_storeu_ps(rows + row * kQueries + lane, a);
  }
};
struct UnitBf16 {
  static constexpr int kPer = 2;
  static PHX_INLINE void pair(uint32_t* panel, int row, int lane, __m512 a, __m512 b) {
    const __m512i low = _mm512_cvtepu16_epi32(round_bf16(a)), high = _mm512_cvtepu16_epi32(round_bf16(b));
    _mm512_storeu_si512(panel + row / 2 * kLanes + lane, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
  static PHX_INLINE void row(uint32_t* rows, int row, int lane, __m512 a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(reinterpret_cast<uint16_t*>(rows) + row * kQueries + lane),
                        round_bf16(a));
  }
};

struct KindF32 {
  using From = FromF32;
  using Mac = MacF32;
  using Unit = UnitF32;
};
struct KindBf16 {
  using From = FromBf16Pairs;
  using Mac = MacBf16;
  using Unit = UnitBf16;
};
struct KindWidened {
  using From = FromBf16Widened;
  using Mac = MacF32;
  using Unit = UnitF32;
};

// Rows [0, tokens) of one head as left-hand panels over the head dimension: [token / 8][unit of dim][8].
template <class From>
__attribute__((noinline)) void pack_tokens(uint32_t* dst, const typename From::Source* src, int64_t stride,
                                           int64_t tokens, int dim) {
  const int64_t units = (dim + From::kPerUnit - 1) / From::kPerUnit;
  for (int64_t t = 0; t < tokens; t += kPanel, dst += units * kPanel)
    pack_k_contiguous<From, kPanel>(dst, src + t * stride, stride,
                                    static_cast<int>(smaller(kPanel, tokens - t)), dim);
}

// The transpose as left-hand panels over the tokens: [component / 8][unit of tokens][8], padded with zeros to
// `padded`.
template <class From>
__attribute__((noinline)) void pack_components(uint32_t* dst, const typename From::Source* src,
                                               int64_t stride, int64_t tokens, int64_t padded, int dim) {
  const int64_t units = padded / From::kPerUnit, filled = (tokens + From::kPerUnit - 1) / From::kPerUnit;
  for (int c = 0; c < dim; c += kPanel, dst += units * kPanel) {
    pack_k_strided<From, kPanel>(dst, src + c, stride, static_cast<int>(smaller(kPanel, dim - c)), tokens);
    for (int64_t i = filled * kPanel; i < units * kPanel; ++i) dst[i] = 0;
  }
}

// `count` (<= 32) queries as a right-hand panel over the head dimension: [unit of dim][32].
template <class From>
__attribute__((noinline)) void pack_queries(uint32_t* dst, const typename From::Source* src, int64_t stride,
                                            int64_t count, int dim) {
  pack_k_contiguous<From, kLanes>(dst, src, stride, static_cast<int>(count < 0 ? 0 : count), dim);
}

// Up to 64 queries as right-hand panels over the queries: [component / 32][unit of 64 queries][32].
template <class From>
__attribute__((noinline)) void pack_query_rows(uint32_t* dst, const typename From::Source* src,
                                               int64_t stride, int64_t count, int dim) {
  constexpr int64_t kUnits = kQueries / From::kPerUnit;
  const int64_t filled = (count + From::kPerUnit - 1) / From::kPerUnit;
  for (int c = 0; c < dim; c += kLanes, dst += kUnits * kLanes) {
    pack_k_strided<From, kLanes>(dst, src + c, stride, static_cast<int>(smaller(kLanes, dim - c)), count);
    for (int64_t i = filled * kLanes; i < kUnits * kLanes; ++i) dst[i] = 0;
  }
}

// dst[query][dim] = src[component][query], 32 queries of which `count` exist; src rows are `width` apart.
template <class Out>
__attribute__((noinline)) void store_transposed(Out* dst, int64_t stride, const float* src, int width,
                                                int64_t count, int dim, const float* factor) {
  for (int q = 0; q < count; q += 16) {
    for (int c = 0; c < dim; c += 16) {
      __m512i r[16];
      for (int i = 0; i < 16; ++i)
        r[i] = c + i < dim ? _mm512_loadu_si512(src + (c + i) * width + q) : _mm512_setzero_si512();
      transpose16(r);
      for (int i = 0; i < 16 && q + i < count; ++i)
        store(dst + (q + i) * stride + c, first_lanes(dim - c),
              _mm512_mul_ps(_mm512_castsi512_ps(r[i]), _mm512_set1_ps(factor ? factor[q + i] : 1.0f)));
    }
  }
}

// Lanes whose query is not before key `key`: query = first + lane.
PHX_INLINE __mmask16 sees(int64_t first, int64_t key) {
  const int64_t hidden = key - first;
  return hidden <= 0 ? 0xffff : hidden >= 16 ? 0 : static_cast<__mmask16>(0xffff << hidden);
}

struct Bump {  // carves 64-byte aligned arrays out of the work space
  char* at;
  template <class T>
  PHX_INLINE T* take(int64_t count) {
    T* result = reinterpret_cast<T*>(at);
    at += round_up(count * static_cast<int64_t>(sizeof(T)) + 64, 64);
    return result;
  }
};

// scores [keys][32] = scale2 * K q^T, -inf where a query must not see a key. Lanes are queries from
// first_query on, or heads of that one.
template <class Kind>
PHX_INLINE void score_block(float* scores, const uint32_t* keys, const uint32_t* query, int64_t units,
                            int64_t first_key, int64_t num_keys, int64_t first_query, bool lanes_are_heads,
                            float scale2, __m512 maximum[2]) {
  const __m512 scale = _mm512_set1_ps(scale2), hidden = _mm512_set1_ps(-__builtin_inff());
  for (int64_t p = 0; p < num_keys; p += kPanel) {
    Tile<kPanel> tile;
    multiply_tile<typename Kind::Mac, kPanel, kPanel, 1>(tile, keys + (first_key + p) * units, query, units);
#pragma GCC unroll 8
    for (int r = 0; r < kPanel; ++r) {
      const int64_t key = first_key + p + r;
      __m512 s0 = _mm512_mul_ps(tile.value[r][0], scale), s1 = _mm512_mul_ps(tile.value[r][1], scale);
      if (key > first_query) {
        s0 = _mm512_mask_mov_ps(hidden, lanes_are_heads ? 0 : sees(first_query, key), s0);
        s1 = _mm512_mask_mov_ps(hidden, lanes_are_heads ? 0 : sees(first_query + 16, key), s1);
      }
      maximum[0] = _mm512_max_ps(maximum[0], s0);
      maximum[1] = _mm512_max_ps(maximum[1], s1);
      _mm512_storeu_ps(scores + (p + r) * kLanes, s0);
      _mm512_storeu_ps(scores + (p + r) * kLanes + 16, s1);
    }
  }
}

// Up to 32 queries of a head, or of one query up to 32 heads: a lane's sums are the same either way.
template <class Kind>
__attribute__((noinline)) void forward_queries(const AttentionForward& t, int head, int64_t first,
                                               bool lanes_are_heads, const uint32_t* keys,
                                               const uint32_t* values, int64_t value_units, uint32_t* query,
                                               float* scores, uint32_t* probabilities, float* out) {
  using Source = typename Kind::From::Source;
  constexpr int kPer = Kind::From::kPerUnit;
  const int64_t units = (t.dim + kPer - 1) / kPer;
  const int64_t count =
      lanes_are_heads ? smaller(kLanes, t.group - head) : smaller(kLanes, t.last_query - first);
  const int64_t end = smaller(first + kLanes, t.tokens), rows = round_up(t.dim, kPanel);
  const int64_t row = first - t.first_query;
  const int64_t q_stride = lanes_are_heads ? t.dim : t.q_stride,
                out_stride = lanes_are_heads ? t.dim : t.out_stride;
  pack_queries<typename Kind::From>(query, static_cast<const Source*>(t.q) + row * t.q_stride + head * t.dim,
                                    q_stride, count, t.dim);
  __m512 maximum[2] = {_mm512_set1_ps(-__builtin_inff()), _mm512_set1_ps(-__builtin_inff())};
  __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int64_t key = 0; key < end; key += kForwardKeys) {
    const int64_t num_keys = round_up(smaller(kForwardKeys, end - key), kPanel);
    const __m512 before[2] = {maximum[0], maximum[1]};
    score_block<Kind>(scores, keys, query, units, key, num_keys, first, lanes_are_heads, t.scale * kLog2E,
                      maximum);
    __m512 correction[2];
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      correction[h] = exp2_ps(_mm512_sub_ps(before[h], maximum[h]));
      sum[h] = _mm512_mul_ps(sum[h], correction[h]);
    }
    for (int64_t j = 0; j < num_keys; j += 2) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const float* s = scores + j * kLanes + 16 * h;
        const __m512 p0 = exp2_ps(_mm512_sub_ps(_mm512_loadu_ps(s), maximum[h]));
        const __m512 p1 = exp2_ps(_mm512_sub_ps(_mm512_loadu_ps(s + kLanes), maximum[h]));
        sum[h] = _mm512_add_ps(sum[h], _mm512_add_ps(p0, p1));
        Kind::Unit::pair(probabilities, static_cast<int>(j), 16 * h, p0, p1);
      }
    }
    for (int64_t c = 0; c < rows; c += kPanel) {
      Tile<kPanel> tile;
      multiply_tile<typename Kind::Mac, kPanel, kPanel, 1>(
          tile, values + c * value_units + key / kPer * kPanel, probabilities, num_keys / kPer);
      float* o = out + c * kLanes;
#pragma GCC unroll 8
      for (int r = 0; r < kPanel; ++r) {
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          const __m512 old = key == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(o + r * kLanes + 16 * h);
          _mm512_storeu_ps(o + r * kLanes + 16 * h, _mm512_fmadd_ps(old, correction[h], tile.value[r][h]));
        }
      }
    }
  }
  alignas(64) float m[kLanes], l[kLanes], inverse[kLanes];
  for (int h = 0; h < 2; ++h) {
    _mm512_store_ps(m + 16 * h, maximum[h]);
    _mm512_store_ps(l + 16 * h, sum[h]);
  }
  for (int64_t i = 0; i < count; ++i) {
    inverse[i] = 1.0f / l[i];
    float* lse = t.lse + head * t.lse_stride + row;
    lse[lanes_are_heads ? i * t.lse_stride : i] = m[i] / kLog2E + __builtin_logf(l[i]);
  }
  store_transposed(static_cast<Source*>(t.out) + row * t.out_stride + head * t.dim, out_stride, out, kLanes,
                   count, t.dim, inverse);
}

template <class Kind>
void forward(const AttentionForward& t, void* work) {
  using Source = typename Kind::From::Source;
  constexpr int kPer = Kind::From::kPerUnit;
  const int64_t keys_needed = smaller(round_up(t.last_query, kLanes), t.tokens),
                padded = round_up(keys_needed, kLanes);
  const int64_t units = (t.dim + kPer - 1) / kPer, rows = round_up(t.dim, kPanel);
  Bump bump{static_cast<char*>(work)};
  auto* keys = bump.take<uint32_t>(padded * units + 16);
  auto* values = bump.take<uint32_t>(rows * (padded / kPer) + 16);
  auto* query = bump.take<uint32_t>(units * kLanes + 512);
  auto* scores = bump.take<float>(kForwardKeys * kLanes);
  auto* probabilities = bump.take<uint32_t>(kForwardKeys * kLanes);
  auto* out = bump.take<float>(rows * kLanes);
  // Keys past the end are hidden from every query but are multiplied: zeros, not what lay there before.
  for (int64_t i = round_up(keys_needed, kPanel) * units; i < padded * units; ++i) keys[i] = 0;
  pack_tokens<typename Kind::From>(keys, static_cast<const Source*>(t.k), t.kv_stride, keys_needed, t.dim);
  pack_components<typename Kind::From>(values, static_cast<const Source*>(t.v), t.kv_stride, keys_needed,
                                       padded, t.dim);
  const bool lanes_are_heads = t.last_query - t.first_query == 1;
  const int heads = lanes_are_heads ? kLanes : 1;  // of one call
  for (int head = 0; head < t.group; head += heads)
    for (int64_t q = t.first_query; q < t.last_query; q += kLanes)
      forward_queries<Kind>(t, head, q, lanes_are_heads, keys, values, padded / kPer, query, scores,
                            probabilities, out);
}

struct BackwardBuffers {
  uint32_t *keys, *values, *key_components;         // packed once
  uint32_t *query, *dout, *query_rows, *dout_rows;  // packed per round of queries
  uint32_t *p_rows, *ds_rows, *ds_pairs;            // per round of keys
  float *dk, *dv, *dq;
  float *lse2, *delta;
  int64_t units, key_units, width, rows;
};

// delta = sum over the head of dout * out; lse in powers of two. Queries that do not exist get probability 0.
template <class Source>
PHX_INLINE void row_statistics(const AttentionBackward& t, int head, int64_t first, int64_t count,
                               BackwardBuffers& b) {
  for (int64_t i = 0; i < kQueries; ++i) {
    if (i >= count) {
      b.lse2[i] = __builtin_inff();
      b.delta[i] = 0.0f;
      continue;
    }
    const int64_t offset = (first + i) * t.q_stride + head * t.dim;
    __m512 dot = _mm512_setzero_ps();
    for (int c = 0; c < t.dim; c += 16) {
      const __mmask16 m = first_lanes(t.dim - c);
      dot = _mm512_fmadd_ps(load(static_cast<const Source*>(t.out) + offset + c, m),
                            load(static_cast<const Source*>(t.dout) + offset + c, m), dot);
    }
    b.delta[i] = _mm512_reduce_add_ps(dot);
    b.lse2[i] = t.lse[head * t.lse_stride + first + i] * kLog2E;
  }
}

// P^T and dS^T of `num_keys` keys against 64 queries, in the layouts that the three products below read.
template <class Kind>
PHX_INLINE void score_gradients(const AttentionBackward& t, const BackwardBuffers& b, int64_t key,
                                int64_t num_keys, int64_t first) {
  const __m512 scale2 = _mm512_set1_ps(t.scale * kLog2E), scale = _mm512_set1_ps(t.scale);
  for (int half = 0; half < 2; ++half) {
    const int64_t lane0 = first + half * kLanes;
    uint32_t* pairs = b.ds_pairs + half * kBackwardKeys / Kind::From::kPerUnit * kLanes;
    for (int64_t p = 0; p < num_keys; p += kPanel) {
      Tile<kPanel> s, d;
      multiply_tile<typename Kind::Mac, kPanel, kPanel, 1>(s, b.keys + (key + p) * b.units,
                                                           b.query + half * b.units * kLanes, b.units);
      multiply_tile<typename Kind::Mac, kPanel, kPanel, 1>(d, b.values + (key + p) * b.units,
                                                           b.dout + half * b.units * kLanes, b.units);
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const int lane = half * kLanes + 16 * h;
        const __m512 lse2 = _mm512_loadu_ps(b.lse2 + lane), delta = _mm512_loadu_ps(b.delta + lane);
#pragma GCC unroll 8
        for (int r = 0; r < kPanel; ++r) {
          const __mmask16 seen = sees(lane0 + 16 * h, key + p + r);
          const __m512 probability =
              _mm512_maskz_mov_ps(seen, exp2_ps(_mm512_fmsub_ps(s.value[r][h], scale2, lse2)));
          const __m512 ds =
              _mm512_mul_ps(_mm512_mul_ps(probability, scale), _mm512_sub_ps(d.value[r][h], delta));
          Kind::Unit::row(b.p_rows, static_cast<int>(p + r), lane, probability);
          Kind::Unit::row(b.ds_rows, static_cast<int>(p + r), lane, ds);
          d.value[r][h] = ds;
        }
#pragma GCC unroll 4
        for (int r = 0; r < kPanel; r += 2)
          Kind::Unit::pair(pairs, static_cast<int>(p + r), 16 * h, d.value[r][h], d.value[r + 1][h]);
      }
    }
  }
}

template <int kRows>
PHX_INLINE void add_tile(const Tile<kRows>& tile, float* c, int64_t stride) {
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    _mm512_storeu_ps(c + r * stride, _mm512_add_ps(_mm512_loadu_ps(c + r * stride), tile.value[r][0]));
    _mm512_storeu_ps(c + r * stride + 16,
                     _mm512_add_ps(_mm512_loadu_ps(c + r * stride + 16), tile.value[r][1]));
  }
}

// dst [keys][width] += left [keys][64 queries] * right [64 queries][width]
template <class Kind>
PHX_INLINE void add_key_products(float* dst, const uint32_t* left, const uint32_t* right, int64_t num_keys,
                                 int64_t width) {
  constexpr int kUnits = kQueries / Kind::From::kPerUnit;
  for (int64_t c = 0; c < width; c += kLanes) {
    for (int64_t p = 0; p < num_keys; p += kPanel) {
      Tile<kPanel> tile;
      multiply_tile<typename Kind::Mac, kPanel, 1, kUnits>(tile, left + p * kUnits, right + c * kUnits,
                                                           kUnits);
      add_tile(tile, dst + p * width + c, width);
    }
  }
}

template <class Kind>
__attribute__((noinline)) void backward_keys(const AttentionBackward& t, const BackwardBuffers& b,
                                             int64_t key, int64_t num_keys, int64_t first) {
  constexpr int kPer = Kind::From::kPerUnit;
  score_gradients<Kind>(t, b, key, num_keys, first);
  add_key_products<Kind>(b.dv + key * b.width, b.p_rows, b.dout_rows, num_keys, b.width);
  add_key_products<Kind>(b.dk + key * b.width, b.ds_rows, b.query_rows, num_keys, b.width);
  for (int half = 0; half < 2; ++half) {
    for (int64_t c = 0; c < b.rows; c += kPanel) {
      Tile<kPanel> tile;
      multiply_tile<typename Kind::Mac, kPanel, kPanel, 1>(
          tile, b.key_components + c * b.key_units + key / kPer * kPanel,
          b.ds_pairs + half * kBackwardKeys / kPer * kLanes, num_keys / kPer);
      add_tile(tile, b.dq + c * kQueries + half * kLanes, kQueries);
    }
  }
}

template <class Kind>
void backward(const AttentionBackward& t, void* work) {
  using From = typename Kind::From;
  using Source = typename From::Source;
  constexpr int kPer = From::kPerUnit;
  const int64_t padded = round_up(t.tokens, kQueries);
  BackwardBuffers b;
  b.units = (t.dim + kPer - 1) / kPer;
  b.key_units = padded / kPer;
  b.width = round_up(t.dim, kLanes);
  b.rows = round_up(t.dim, kPanel);
  Bump bump{static_cast<char*>(work)};
  b.keys = bump.take<uint32_t>(padded * b.units + 16);
  b.values = bump.take<uint32_t>(padded * b.units + 16);
  b.key_components = bump.take<uint32_t>(b.rows * b.key_units + 16);
  b.query = bump.take<uint32_t>(2 * b.units * kLanes + 512);
  b.dout = bump.take<uint32_t>(2 * b.units * kLanes + 512);
  b.query_rows = bump.take<uint32_t>(b.width * kQueries / kPer);
  b.dout_rows = bump.take<uint32_t>(b.width * kQueries / kPer);
  b.p_rows = bump.take<uint32_t>(kBackwardKeys * kQueries / kPer);
  b.ds_rows = bump.take<uint32_t>(kBackwardKeys * kQueries / kPer);
  b.ds_pairs = bump.take<uint32_t>(2 * kBackwardKeys / kPer * kLanes);
  b.dk = bump.take<float>(padded * b.width);
  b.dv = bump.take<float>(padded * b.width);
  b.dq = bump.take<float>(b.rows * kQueries);
  b.lse2 = bump.take<float>(kQueries);
  b.delta = bump.take<float>(kQueries);
  for (int64_t i = 0; i < padded * b.width; ++i) b.dk[i] = b.dv[i] = 0.0f;
  for (int64_t i = round_up(t.tokens, kPanel) * b.units; i < padded * b.units; ++i)
    b.keys[i] = b.values[i] = 0;
  pack_tokens<From>(b.keys, static_cast<const Source*>(t.k), t.kv_stride, t.tokens, t.dim);
  pack_tokens<From>(b.values, static_cast<const Source*>(t.v), t.kv_stride, t.tokens, t.dim);
  pack_components<From>(b.key_components, static_cast<const Source*>(t.k), t.kv_stride, t.tokens, padded,
                        t.dim);
  for (int head = 0; head < t.group; ++head) {
    for (int64_t first = 0; first < t.tokens; first += kQueries) {
      const int64_t count = smaller(kQueries, t.tokens - first), offset = first * t.q_stride + head * t.dim;
      const Source* q = static_cast<const Source*>(t.q) + offset;
      const Source* dout = static_cast<const Source*>(t.dout) + offset;
      row_statistics<Source>(t, head, first, count, b);
      for (int half = 0; half < 2; ++half) {
        const int64_t skip = half * kLanes, left = smaller(kLanes, count - skip);
        pack_queries<From>(b.query + half * b.units * kLanes, q + skip * t.q_stride, t.q_stride, left, t.dim);
        pack_queries<From>(b.dout + half * b.units * kLanes, dout + skip * t.q_stride, t.q_stride, left,
                           t.dim);
      }
      pack_query_rows<From>(b.query_rows, q, t.q_stride, count, t.dim);
      pack_query_rows<From>(b.dout_rows, dout, t.q_stride, count, t.dim);
      for (int64_t i = 0; i < b.rows * kQueries; ++i) b.dq[i] = 0.0f;
      const int64_t end = smaller(first + kQueries, t.tokens);
      for (int64_t key = 0; key < end; key += kBackwardKeys)
        backward_keys<Kind>(t, b, key, round_up(smaller(kBackwardKeys, end - key), kPanel), first);
      for (int half = 0; half < 2; ++half)
        store_transposed(static_cast<Source*>(t.dq) + offset + half * kLanes * t.q_stride, t.q_stride,
                         b.dq + half * kLanes, kQueries, smaller(kLanes, count - half * kLanes), t.dim,
                         nullptr);
    }
  }
  for (int64_t i = 0; i < t.tokens; ++i) {
    for (int c = 0; c < t.dim; c += 16) {
      const __mmask16 m = first_lanes(t.dim - c);
      store(static_cast<Source*>(t.dk) + i * t.kv_stride + c, m, _mm512_loadu_ps(b.dk + i * b.width + c));
      store(static_cast<Source*>(t.dv) + i * t.kv_stride + c, m, _mm512_loadu_ps(b.dv + i * b.width + c));
    }
  }
}

}  // namespace

// Upper bounds for the fp32 unit, which needs the most.
size_t forward_scratch_bytes(int64_t tokens, int dim) {
  const int64_t padded = round_up(tokens, kLanes), rows = round_up(dim, kLanes);
  return static_cast<size_t>(4 * (2 * padded * rows + 2 * rows * kLanes + 2 * kForwardKeys * kLanes) + 8192);
}
size_t backward_scratch_bytes(int64_t tokens, int dim) {
  const int64_t padded = round_up(tokens, kQueries), rows = round_up(dim, kLanes);
  return static_cast<size_t>(4 * (5 * padded * rows + 7 * rows * kQueries + 4 * kBackwardKeys * kQueries) +
                             16384);
}

void attention_forward(AttentionKind kind, const AttentionForward& task, void* work) {
  switch (kind) {
    case AttentionKind::kF32:
      return forward<KindF32>(task, work);
    case AttentionKind::kBF16:
      return forward<KindBf16>(task, work);
    case AttentionKind::kBF16Widened:
      return forward<KindWidened>(task, work);
  }
}
void attention_backward(AttentionKind kind, const AttentionBackward& task, void* work) {
  switch (kind) {
    case AttentionKind::kF32:
      return backward<KindF32>(task, work);
    case AttentionKind::kBF16:
      return backward<KindBf16>(task, work);
    case AttentionKind::kBF16Widened:
      return backward<KindWidened>(task, work);
  }
}

}  // namespace phalanx::ops::cpu::avx512
#pragma GCC pop_options
