#include "ops/cpu/attention_blocked.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "ops/cpu/kernels.h"

namespace phalanx::ops::cpu::blocked {
namespace {

constexpr int64_t kQueries = 64;  // rows of a block of scores
constexpr int64_t kKeys = 128;    // its columns
constexpr int64_t kTile = 48;     // a multiple of every panel height, for paddings
constexpr int64_t kSlack = 64;    // units that packing may write beyond the end

int64_t round_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

struct Bump {  // carves 64-byte aligned arrays out of the work space
  char* at;
  template <class T>
  T* take(int64_t count) {
    T* result = reinterpret_cast<T*>(at);
    at += round_up(count * static_cast<int64_t>(sizeof(T)), 64);
    return result;
  }
};

float widen(float x) {
  return x;
}
float widen(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float x;
  __builtin_memcpy(&x, &wide, 4);
  return x;
}

/// The packing and multiplying of blocks. A left-hand operand has its rows in panels of tile_rows, a
/// right-hand one its columns in panels of tile_columns; `units` is the length of the sum.
class Blocks {
 public:
  explicit Blocks(const GemmKernels& kernels) : kernels_(kernels) {}

  template <class T>
  void left(uint32_t* dst, const T* src, int64_t stride, bool k_contiguous, int64_t rows, int64_t k) const {
    pack(dst, src, stride, k_contiguous, rows, k, kernels_.tile_rows);
  }
  template <class T>
  void right(uint32_t* dst, const T* src, int64_t stride, bool k_contiguous, int64_t columns,
             int64_t k) const {
    pack(dst, src, stride, k_contiguous, columns, k, kernels_.tile_columns);
  }
  /// c [rows, columns] (= or +=) scale * a b
  void multiply(float* c, int64_t c_stride, const uint32_t* a, const uint32_t* b, int64_t rows,
                int64_t columns, int64_t units, bool accumulate, float scale) const {
    kernels_.multiply_f32({a, b, rows, columns, units, c, c_stride, false, accumulate, scale});
  }

 private:
  template <class T>
  void pack(uint32_t* dst, const T* src, int64_t stride, bool k_contiguous, int64_t rows, int64_t k,
            int panel) const {
    for (int64_t row = 0; row < rows; row += panel, dst += panel * k) {
      const int count = static_cast<int>(std::min<int64_t>(panel, rows - row));
      const T* from = src + (k_contiguous ? row * stride : row);
      if constexpr (std::is_same_v<T, float>) {
        kernels_.pack_f32(dst, from, stride, k_contiguous, count, panel, k);
      } else {
        kernels_.pack_bf16(dst, from, stride, k_contiguous, count, panel, k);
      }
    }
  }

  const GemmKernels& kernels_;
};

/// Units that a packed block of rows x k takes.
int64_t packed_units(int64_t rows, int64_t k) {
  return round_up(rows, kTile) * k + kSlack;
}

/// Keys of the block that begins with `key`, where there are `end` of them.
int64_t keys_of(int64_t key, int64_t end) {
  return std::min(kKeys, end - key);
}

/// How many of the keys from `key` on query `query` sees.
int64_t visible(int64_t query, int64_t key, int64_t count) {
  return std::clamp<int64_t>(query - key + 1, 0, count);
}

template <class T>
void store_rows(const GemmKernels& kernels, T* dst, int64_t dst_stride, const float* src, int64_t src_stride,
                int64_t rows, int64_t n) {
  if constexpr (std::is_same_v<T, float>) {
    for (int64_t i = 0; i < rows; ++i)
      std::copy(src + i * src_stride, src + i * src_stride + n, dst + i * dst_stride);
  } else {
    kernels.round_rows(dst, dst_stride, src, src_stride, rows, n);
  }
}

/// Keys and values of a sample, packed block by block of kKeys.
struct PackedKeys {
  uint32_t* data;
  int64_t units_per_block;
  uint32_t* block(int64_t key) const { return data + key / kKeys * units_per_block; }
};

PackedKeys take_keys(Bump& bump, int64_t tokens, int64_t rows, int64_t k) {
  const int64_t units = packed_units(rows, k);
  return {bump.take<uint32_t>(round_up(tokens, kKeys) / kKeys * units), units};
}

}  // namespace

size_t forward_scratch_bytes(int64_t tokens, int dim) {
  const int64_t blocks = round_up(tokens, kKeys) / kKeys;
  const int64_t keys = blocks * (packed_units(kKeys, dim) + packed_units(dim, kKeys));
  return static_cast<size_t>(
      4 * (keys + packed_units(kQueries, dim) + packed_units(kQueries, kKeys) + kQueries * (kKeys + dim)) +
      4096);
}

size_t backward_scratch_bytes(int64_t tokens, int dim) {
  const int64_t blocks = round_up(tokens, kKeys) / kKeys;
  const int64_t keys = blocks * (2 * packed_units(kKeys, dim) + packed_units(dim, kKeys));
  const int64_t queries = 2 * (packed_units(kQueries, dim) + packed_units(dim, kQueries));
  const int64_t scores =
      2 * packed_units(kKeys, kQueries) + packed_units(kQueries, kKeys) + 2 * kQueries * kKeys;
  return static_cast<size_t>(
      4 * (keys + queries + scores + 2 * tokens * dim + kQueries * dim + 2 * kQueries) + 8192);
}

template <class T>
void attention_forward(const GemmKernels& kernels, const AttentionForward& t, void* work) {
  const Blocks blocks(kernels);
  const Kernels& rows = cpu::kernels();
  const int64_t dim = t.dim;
  const T *q = static_cast<const T*>(t.q), *k = static_cast<const T*>(t.k), *v = static_cast<const T*>(t.v);
  Bump bump{static_cast<char*>(work)};
  const PackedKeys keys = take_keys(bump, t.last_query, kKeys, dim),
                   values = take_keys(bump, t.last_query, dim, kKeys);
  auto* query = bump.take<uint32_t>(packed_units(kQueries, dim));
  auto* left = bump.take<uint32_t>(packed_units(kQueries, kKeys));
  auto* scores = bump.take<float>(kQueries * kKeys);
  auto* out = bump.take<float>(kQueries * dim);
  for (int64_t key = 0; key < t.last_query; key += kKeys) {
    const int64_t count = keys_of(key, t.last_query);
    blocks.right(keys.block(key), k + key * t.kv_stride, t.kv_stride, true, count, dim);
    blocks.right(values.block(key), v + key * t.kv_stride, t.kv_stride, false, dim, count);
  }
  for (int head = 0; head < t.group; ++head) {
    for (int64_t first = t.first_query; first < t.last_query; first += kQueries) {
      const int64_t count = std::min(kQueries, t.last_query - first), end = first + count;
      const int64_t row = first - t.first_query;
      blocks.left(query, q + row * t.q_stride + head * dim, t.q_stride, true, count, dim);
      SoftmaxState state[kQueries];
      std::fill(state, state + count, SoftmaxState{-std::numeric_limits<float>::max(), 0.0f});
      for (int64_t key = 0; key < end; key += kKeys) {
        // A block that was packed whole is used whole where it reaches past the last key seen: its layout has
        // that length.
        const int64_t width = keys_of(key, t.last_query);
        blocks.multiply(scores, kKeys, query, keys.block(key), count, width, dim, false, t.scale);
        for (int64_t i = 0; i < count; ++i) {
          const float correction =
              rows.softmax_block(scores + i * kKeys, visible(first + i, key, width), width, state[i]);
          if (key > 0 && correction != 1.0f) rows.scale_row(out + i * dim, dim, correction);
        }
        blocks.left(left, scores, kKeys, true, count, width);
        blocks.multiply(out, dim, left, values.block(key), count, dim, width, key > 0, 1.0f);
      }
      for (int64_t i = 0; i < count; ++i) {
        rows.scale_row(out + i * dim, dim, 1.0f / state[i].sum);
        t.lse[head * t.lse_stride + row + i] = state[i].maximum + std::log(state[i].sum);
      }
      store_rows(kernels, static_cast<T*>(t.out) + row * t.out_stride + head * dim, t.out_stride, out, dim,
                 count, dim);
    }
  }
}

template <class T>
void attention_backward(const GemmKernels& kernels, const AttentionBackward& t, void* work) {
  const Blocks blocks(kernels);
  const Kernels& rows = cpu::kernels();
  const int64_t dim = t.dim;
  const T *k = static_cast<const T*>(t.k), *v = static_cast<const T*>(t.v);
  Bump bump{static_cast<char*>(work)};
  const PackedKeys keys = take_keys(bump, t.tokens, kKeys, dim),
                   values = take_keys(bump, t.tokens, kKeys, dim),
                   key_columns = take_keys(bump, t.tokens, dim, kKeys);
  auto* query = bump.take<uint32_t>(packed_units(kQueries, dim));
  auto* dout = bump.take<uint32_t>(packed_units(kQueries, dim));
  auto* query_columns = bump.take<uint32_t>(packed_units(dim, kQueries));
  auto* dout_columns = bump.take<uint32_t>(packed_units(dim, kQueries));
  auto* p_left = bump.take<uint32_t>(packed_units(kKeys, kQueries));
  auto* ds_left = bump.take<uint32_t>(packed_units(kKeys, kQueries));
  auto* ds_rows = bump.take<uint32_t>(packed_units(kQueries, kKeys));
  auto* p = bump.take<float>(kQueries * kKeys);
  auto* ds = bump.take<float>(kQueries * kKeys);
  auto* dk = bump.take<float>(t.tokens * dim);
  auto* dv = bump.take<float>(t.tokens * dim);
  auto* dq = bump.take<float>(kQueries * dim);
  float delta[kQueries], lse[kQueries];
  std::fill(dk, dk + t.tokens * dim, 0.0f);
  std::fill(dv, dv + t.tokens * dim, 0.0f);
  for (int64_t key = 0; key < t.tokens; key += kKeys) {
    const int64_t count = keys_of(key, t.tokens);
    blocks.right(keys.block(key), k + key * t.kv_stride, t.kv_stride, true, count, dim);
    blocks.right(values.block(key), v + key * t.kv_stride, t.kv_stride, true, count, dim);
    blocks.right(key_columns.block(key), k + key * t.kv_stride, t.kv_stride, false, dim, count);
  }
  for (int head = 0; head < t.group; ++head) {
    for (int64_t first = 0; first < t.tokens; first += kQueries) {
      const int64_t count = std::min(kQueries, t.tokens - first), end = first + count;
      const int64_t offset = first * t.q_stride + head * dim;
      const T *q = static_cast<const T*>(t.q) + offset, *g = static_cast<const T*>(t.dout) + offset,
              *o = static_cast<const T*>(t.out) + offset;
      for (int64_t i = 0; i < count; ++i) {
        float dot = 0.0f;
        for (int64_t c = 0; c < dim; ++c) dot += widen(o[i * t.q_stride + c]) * widen(g[i * t.q_stride + c]);
        delta[i] = dot;
        lse[i] = t.lse[head * t.lse_stride + first + i];
      }
      blocks.left(query, q, t.q_stride, true, count, dim);
      blocks.left(dout, g, t.q_stride, true, count, dim);
      blocks.right(query_columns, q, t.q_stride, false, dim, count);
      blocks.right(dout_columns, g, t.q_stride, false, dim, count);
      for (int64_t key = 0; key < end; key += kKeys) {
        const int64_t width = keys_of(key, t.tokens);
        blocks.multiply(p, kKeys, query, keys.block(key), count, width, dim, false, t.scale);
        blocks.multiply(ds, kKeys, dout, values.block(key), count, width, dim, false, 1.0f);
        for (int64_t i = 0; i < count; ++i) {
          rows.softmax_block_backward(p + i * kKeys, ds + i * kKeys, visible(first + i, key, width), width,
                                      lse[i], delta[i], t.scale);
        }
        blocks.left(p_left, p, kKeys, false, width, count);
        blocks.left(ds_left, ds, kKeys, false, width, count);
        blocks.left(ds_rows, ds, kKeys, true, count, width);
        blocks.multiply(dv + key * dim, dim, p_left, dout_columns, width, dim, count, true, 1.0f);
        blocks.multiply(dk + key * dim, dim, ds_left, query_columns, width, dim, count, true, 1.0f);
        blocks.multiply(dq, dim, ds_rows, key_columns.block(key), count, dim, width, key > 0, 1.0f);
      }
      store_rows(kernels, static_cast<T*>(t.dq) + offset, t.q_stride, dq, dim, count, dim);
    }
  }
  store_rows(kernels, static_cast<T*>(t.dk), t.kv_stride, dk, dim, t.tokens, dim);
  store_rows(kernels, static_cast<T*>(t.dv), t.kv_stride, dv, dim, t.tokens, dim);
}

template void attention_forward<float>(const GemmKernels&, const AttentionForward&, void*);
template void attention_forward<uint16_t>(const GemmKernels&, const AttentionForward&, void*);
template void attention_backward<float>(const GemmKernels&, const AttentionBackward&, void*);
template void attention_backward<uint16_t>(const GemmKernels&, const AttentionBackward&, void*);

}  // namespace phalanx::ops::cpu::blocked
