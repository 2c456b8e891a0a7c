#include "ops/tile_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include "core/vector_clones.h"
#include "ops/cpu/dispatch.h"
#include "ops/cpu/isa.h"
#include "ops/cpu/rows_product_amx.h"
#include "ops/cpu/workspace.h"

namespace phalanx::ops {
namespace {

namespace blas = at::native::cpublas;
using Half = at::BFloat16;

// oneDNN makes one kernel for each shape and stride that it meets and keeps it, so both are fixed: only the
// ends of the matrices differ.
constexpr int64_t kRows = 64, kColumns = 64, kDepth = 512;
constexpr int64_t kDepthUnit = 32;  // k of one tile
constexpr int64_t kMostFewRows = 64;

int64_t ceil_div(int64_t n, int64_t by) {
  return (n + by - 1) / by;
}

// out [rows, columns] += factor * block [rows, 64]
PHX_VECTOR_CLONES void add_block(float* __restrict out, int64_t stride, const float* __restrict block,
                                 int64_t rows, int64_t columns, float factor) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) out[i * stride + j] += factor * block[i * kColumns + j];
  }
}

PHX_VECTOR_CLONES void join_pairs(uint32_t* __restrict out, const uint16_t* first, const uint16_t* second,
                                  int64_t count) {
  for (int64_t j = 0; j < count; ++j) out[j] = first[j] | uint32_t{second[j]} << 16;
}

// a [K, M] -> [ceil(K / 512)][M][512], zeros after K.
at::Tensor pack_left(const at::Tensor& a) {
  const int64_t k = a.size(0), m = a.size(1), chunks = ceil_div(k, kDepth);
  at::Tensor packed = at::empty({chunks, m, kDepth}, a.options());
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t depth = std::min(kDepth, k - chunk * kDepth);
    at::Tensor target = packed[chunk];
    target.narrow(1, 0, depth).copy_(a.narrow(0, chunk * kDepth, depth).t());
    if (depth < kDepth) target.narrow(1, depth, kDepth - depth).zero_();
  }
  return packed;
}

// b [K, N] -> [ceil(N / 64)][ceil(K / 512) * 256][64][2]: pairs along k side by side, zeros beyond the ends.
at::Tensor pack_right(const at::Tensor& given) {
  const at::Tensor b = given.stride(1) == 1 ? given : given.contiguous();
  const int64_t k = b.size(0), n = b.size(1), panels = ceil_div(n, kColumns);
  const int64_t pairs = ceil_div(k, kDepth) * kDepth / 2;
  at::Tensor packed = at::empty({panels, pairs, kColumns, 2}, b.options());
  const auto* source = reinterpret_cast<const uint16_t*>(b.const_data_ptr<Half>());
  auto* target = reinterpret_cast<uint32_t*>(packed.mutable_data_ptr<Half>());
  const int64_t stride = b.stride(0);
  at::parallel_for(0, panels * pairs, 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t column = i / pairs * kColumns, row = i % pairs * 2,
                    count = std::min(kColumns, n - column);
      const uint16_t* first = source + row * stride + column;
      uint32_t* out = target + i * kColumns;
      if (row + 1 < k) {
        join_pairs(out, first, first + stride, count);
      } else {
        for (int64_t j = 0; j < count; ++j) out[j] = row < k ? first[j] : 0;
      }
      std::fill(out + count, out + kColumns, 0U);
    }
  });
  return packed;
}

}  // namespace

bool tiles_apply(const at::Tensor& a) {
  return a.scalar_type() == at::kBFloat16 && cpu::has_kernels(a) && cpu::isa().amx_bf16 &&
         blas::could_pack(at::kBFloat16);
}

void tile_product_tn_add(const at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b,
                         double scale) {
  const int64_t k = a.size(0), m = a.size(1), n = b.size(1), chunks = ceil_div(k, kDepth);
  const at::Tensor left = pack_left(a), right = pack_right(b);
  const Half* lefts = left.const_data_ptr<Half>();
  const Half* rights = right.const_data_ptr<Half>();
  float* out = accumulator.mutable_data_ptr<float>();
  const int64_t stride = accumulator.stride(0), row_blocks = ceil_div(m, kRows);
  const auto factor = static_cast<float>(scale);
  at::parallel_for(0, ceil_div(n, kColumns) * row_blocks, 1, [&](int64_t begin, int64_t end) {
    alignas(64) float block[kRows * kColumns];
    for (int64_t job = begin; job < end; ++job) {
      const int64_t panel = job / row_blocks, row = job % row_blocks * kRows, rows = std::min(kRows, m - row);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t depth = ceil_div(std::min(kDepth, k - chunk * kDepth), kDepthUnit) * kDepthUnit;
        blas::brgemm(rows, kColumns, depth, kDepth, kColumns, kColumns, /*add_C=*/chunk > 0,
                     lefts + (chunk * m + row) * kDepth,
                     rights + (panel * chunks + chunk) * kDepth * kColumns, block);
      }
      const int64_t column = panel * kColumns, columns = std::min(kColumns, n - column);
      add_block(out + row * stride + column, stride, block, rows, columns, factor);
    }
    blas::brgemm_release();
  });
}

bool fits_tiles(const at::Tensor& a, const at::Tensor& b) {
  return a.size(0) > 0 && a.size(1) % cpu::amx::kDepth == 0 && tiles_apply(a) &&
         b.scalar_type() == a.scalar_type() && b.is_contiguous();
}

bool few_rows_fit_tiles(const at::Tensor& a, const at::Tensor& b) {
  return a.size(0) <= kMostFewRows && fits_tiles(a, b);
}

void tile_product_nt(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(a.size(1) == b.size(1) && out.is_contiguous(), "tile_product_nt: a has ", a.size(1),
              " columns, b ", b.size(1));
  const at::Tensor rows = a.contiguous();
  const int64_t m = a.size(0), k = a.size(1), n = b.size(0);
  const auto words = static_cast<size_t>(cpu::amx::packed_words(m, k) + cpu::amx::kTile);
  auto* packed = static_cast<uint32_t*>(cpu::scratch(cpu::Scratch::kPackA, words * 4));
  cpu::amx::pack_rows(packed, cpu::data<uint16_t>(rows), m, k);
  const cpu::amx::RowsProduct product{
      packed, cpu::data<uint16_t>(b), m, k, n, out.data_ptr(), out.scalar_type() == at::kBFloat16};
  at::parallel_for(0, ceil_div(n, kColumns), 1, [&](int64_t begin, int64_t end) {
    cpu::amx::multiply_rows(product, begin * kColumns, std::min(end * kColumns, n));
  });
}

at::Tensor tile_product_nt(const at::Tensor& a, const at::Tensor& b, at::ScalarType out_dtype) {
  at::Tensor out = at::empty({a.size(0), b.size(0)}, a.options().dtype(out_dtype));
  tile_product_nt(out, a, b);
  return out;
}

}  // namespace phalanx::ops
