#include "ops/cpu/gemm.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#include "ops/batch_invariant.h"
#include "ops/cpu/gemm_kernels.h"
#include "ops/cpu/isa.h"
#include "ops/cpu/jobs.h"
#include "ops/cpu/workspace.h"

namespace phalanx::ops::cpu {
namespace {

constexpr int64_t kBlockBytes = 320 << 10;           // packed a of one job, in L2
constexpr int64_t kPackedABytes = int64_t{6} << 20;  // packed operands of one pass, in L3
constexpr int64_t kPackedBBytes = int64_t{6} << 20;
constexpr int64_t kSlackUnits = 16;
constexpr int64_t kStreamedRows = 48;  // a product of fewer rows of a is bound by reading b
constexpr int64_t kStridedDepth = 64;  // k that are packed for all panels in turn, even

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

/// The kernels for this element type on this machine; null where ATen does better.
const GemmKernels* find_kernels(Element element) {
  if (BatchInvariant::is_active())
    return isa().avx512_bf16 ? &kAvx512Gemm : isa().avx2 ? &kAvx2Gemm : nullptr;
  // The AVX-512 translation unit is compiled with AVX512-BF16 throughout; a machine with AVX-512 alone, or
  // with tiles for bf16, takes ATen.
  if (element == Element::kBF16 ? isa().fast_bf16_dot() : isa().avx512_bf16) return &kAvx512Gemm;
  return isa().avx2 && !isa().avx512 ? &kAvx2Gemm : nullptr;
}

struct Plan {
  const GemmKernels* kernels;
  bool bf16;
  int64_t per_unit;
  int64_t depth;          // k per pass, even
  int64_t rows, columns;  // of one pass, multiples of the tile
  int64_t job_rows, job_columns;
};

Plan make_plan(const Product& p) {
  const GemmKernels& kernels = *find_kernels(p.element);
  const int64_t tile_rows = kernels.tile_rows, tile_columns = kernels.tile_columns;
  Plan plan;
  plan.kernels = &kernels;
  plan.bf16 = p.element == Element::kBF16;
  plan.per_unit = plan.bf16 ? kernels.bf16_per_unit : 1;
  const int64_t max_depth = kernels.max_depth_units * plan.per_unit;
  plan.depth = round_up(ceil_div(p.k, std::max<int64_t>(ceil_div(p.k, max_depth), 1)), 2);
  const int64_t row_bytes = std::max<int64_t>(plan.depth / plan.per_unit, 1) * 4;
  plan.rows = std::min(round_up(p.m, tile_rows), kPackedABytes / row_bytes / tile_rows * tile_rows);
  plan.columns =
      std::min(round_up(p.n, tile_columns), kPackedBBytes / row_bytes / tile_columns * tile_columns);
  plan.job_rows = std::min(plan.rows, std::max<int64_t>(kBlockBytes / row_bytes / tile_rows, 1) * tile_rows);
  // Enough jobs for every thread: cut columns where rows alone give too few. Any cut gives the same bits.
  const int64_t row_jobs = ceil_div(plan.rows, plan.job_rows), threads = at::get_num_threads();
  const int64_t wanted = row_jobs >= 4 * threads ? 1 : ceil_div(4 * threads, row_jobs);
  plan.job_columns =
      std::max<int64_t>(round_up(ceil_div(plan.columns, wanted), tile_columns), 2 * tile_columns);
  return plan;
}

/// Packs rows [begin, begin + count) and elements [k0, k0 + depth) of an operand, panels in parallel. Where
/// an operand is contiguous along its rows, a cache line holds several panels: all of them are packed while
/// it is in the cache.
void pack(uint32_t* dst, const Operand& source, const Plan& plan, int64_t begin, int64_t count, int64_t k0,
          int64_t depth, int panel) {
  const int64_t panels = ceil_div(count, panel), units = ceil_div(depth, plan.per_unit);
  const int64_t step = source.k_contiguous ? depth : kStridedDepth;
  at::parallel_for(0, panels, 4, [&](int64_t first, int64_t last) {
    for (int64_t k = 0; k < depth; k += step) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t row = begin + i * panel, part = std::min(step, depth - k);
        const int rows = static_cast<int>(std::min<int64_t>(panel, count - i * panel));
        const int64_t offset =
            source.k_contiguous ? row * source.stride + k0 + k : (k0 + k) * source.stride + row;
        uint32_t* out = dst + (i * units + k / plan.per_unit) * panel;
        if (plan.bf16) {
          plan.kernels->pack_bf16(out, static_cast<const uint16_t*>(source.data) + offset, source.stride,
                                  source.k_contiguous, rows, panel, part);
        } else {
          plan.kernels->pack_f32(out, static_cast<const float*>(source.data) + offset, source.stride,
                                 source.k_contiguous, rows, panel, part);
        }
      }
    }
  });
}

struct Target {
  char* data;
  int64_t stride;
  bool bf16;
  char* at(int64_t row, int64_t column) const { return data + (row * stride + column) * (bf16 ? 2 : 4); }
};

// One pass over the packed blocks: jobs of job_rows x job_columns.
void multiply_packed(const uint32_t* a, const uint32_t* b, const Plan& plan, const Target& c, int64_t m,
                     int64_t n, int64_t depth, bool accumulate, float scale) {
  const int64_t units = ceil_div(depth, plan.per_unit);
  const int64_t row_jobs = ceil_div(m, plan.job_rows), column_jobs = ceil_div(n, plan.job_columns);
  run_jobs(row_jobs * column_jobs, [&](int64_t job) {
    const int64_t row = job / column_jobs * plan.job_rows, column = job % column_jobs * plan.job_columns;
    const BlockProduct block{a + row * units,
                             b + column * units,
                             std::min(plan.job_rows, m - row),
                             std::min(plan.job_columns, n - column),
                             units,
                             c.at(row, column),
                             c.stride,
                             c.bf16,
                             accumulate,
                             scale};
    plan.bf16 ? plan.kernels->multiply_bf16(block) : plan.kernels->multiply_f32(block);
  });
}

void round_result(const Product& p, const Plan& plan, const float* partial, int64_t row, int64_t rows,
                  int64_t column, int64_t columns) {
  at::parallel_for(0, rows, 16, [&](int64_t first, int64_t last) {
    uint16_t* dst = static_cast<uint16_t*>(p.c) + (row + first) * p.c_stride + column;
    plan.kernels->round_rows(dst, p.c_stride, partial + first * columns, columns, last - first, columns);
  });
}

/// A sum of nothing.
void clear(const Product& p) {
  if (p.accumulate) return;
  const int64_t element_bytes = p.c_element == Element::kBF16 ? 2 : 4;
  for (int64_t row = 0; row < p.m; ++row) {
    std::memset(static_cast<char*>(p.c) + row * p.c_stride * element_bytes, 0, p.n * element_bytes);
  }
}

void pack_panel(uint32_t* dst, const Operand& source, const Plan& plan, int64_t row, int64_t rows, int64_t k0,
                int64_t depth, int panel) {
  const int64_t offset = source.k_contiguous ? row * source.stride + k0 : k0 * source.stride + row;
  if (plan.bf16) {
    plan.kernels->pack_bf16(dst, static_cast<const uint16_t*>(source.data) + offset, source.stride,
                            source.k_contiguous, static_cast<int>(rows), panel, depth);
  } else {
    plan.kernels->pack_f32(dst, static_cast<const float*>(source.data) + offset, source.stride,
                           source.k_contiguous, static_cast<int>(rows), panel, depth);
  }
}

// Few rows of a, as decoding makes them: bound by the speed at which b streams from memory. A job packs one
// panel of b and multiplies it while it is in its cache, pass after pass over k: the same sums as below.
void multiply_few_rows(const Product& p, const Plan& plan) {
  const int64_t tile_rows = plan.kernels->tile_rows, tile_columns = plan.kernels->tile_columns;
  const int64_t panels = ceil_div(p.m, tile_rows), passes = ceil_div(p.k, plan.depth);
  const int64_t pass_units = ceil_div(plan.depth, plan.per_unit);
  auto* a = static_cast<uint32_t*>(scratch(
      Scratch::kPackA, static_cast<size_t>(passes * panels * tile_rows * pass_units + kSlackUnits) * 4));
  const auto units_of = [&](int64_t pass) {
    return ceil_div(std::min(plan.depth, p.k - pass * plan.depth), plan.per_unit);
  };
  for (int64_t pass = 0; pass < passes; ++pass) {
    for (int64_t panel = 0; panel < panels; ++panel) {
      pack_panel(a + pass * panels * tile_rows * pass_units + panel * tile_rows * units_of(pass), p.a, plan,
                 panel * tile_rows, std::min(tile_rows, p.m - panel * tile_rows), pass * plan.depth,
                 std::min(plan.depth, p.k - pass * plan.depth), static_cast<int>(tile_rows));
    }
  }
  const bool c_bf16 = p.c_element == Element::kBF16, through_partial = c_bf16 && passes > 1;
  const Target c{static_cast<char*>(p.c), p.c_stride, c_bf16};
  // A thread takes neighbouring panels: packing one asks for the next.
  at::parallel_for(0, ceil_div(p.n, tile_columns), 1, [&](int64_t begin, int64_t end) {
    auto* b = static_cast<uint32_t*>(
        scratch(Scratch::kPackB, static_cast<size_t>(tile_columns * pass_units + kSlackUnits) * 4));
    float* partial =
        through_partial
            ? static_cast<float*>(scratch(Scratch::kPartial, static_cast<size_t>(p.m * tile_columns) * 4))
            : nullptr;
    for (int64_t job = begin; job < end; ++job) {
      const int64_t column = job * tile_columns, columns = std::min(tile_columns, p.n - column);
      for (int64_t pass = 0; pass < passes; ++pass) {
        const int64_t k0 = pass * plan.depth, depth = std::min(plan.depth, p.k - k0);
        pack_panel(b, p.b, plan, column, columns, k0, depth, static_cast<int>(tile_columns));
        const BlockProduct block{a + pass * panels * tile_rows * pass_units,
                                 b,
                                 p.m,
                                 columns,
                                 units_of(pass),
                                 partial ? static_cast<void*>(partial) : c.at(0, column),
                                 partial ? tile_columns : c.stride,
                                 c_bf16 && !partial,
                                 pass > 0 || p.accumulate,
                                 p.scale};
        plan.bf16 ? plan.kernels->multiply_bf16(block) : plan.kernels->multiply_f32(block);
      }
      if (partial)
        plan.kernels->round_rows(static_cast<uint16_t*>(p.c) + column, p.c_stride, partial, tile_columns, p.m,
                                 columns);
    }
  });
}

}  // namespace

bool can_multiply(Element element) {
  return find_kernels(element) != nullptr;
}

void multiply(const Product& p) {
  if (p.m == 0 || p.n == 0) return;
  if (p.k == 0) return clear(p);
  const Plan plan = make_plan(p);
  if (p.m <= kStreamedRows) return multiply_few_rows(p, plan);
  const bool split = p.k > plan.depth, c_bf16 = p.c_element == Element::kBF16;
  const int64_t units = plan.depth / plan.per_unit;
  auto* a = static_cast<uint32_t*>(scratch(Scratch::kPackA, (plan.rows * units + kSlackUnits) * 4));
  auto* b = static_cast<uint32_t*>(scratch(Scratch::kPackB, (plan.columns * units + kSlackUnits) * 4));
  float* partial = split && c_bf16
                       ? static_cast<float*>(scratch(Scratch::kPartial, plan.rows * plan.columns * 4))
                       : nullptr;
  for (int64_t column = 0; column < p.n; column += plan.columns) {
    const int64_t columns = std::min(plan.columns, p.n - column);
    for (int64_t row = 0; row < p.m; row += plan.rows) {
      const int64_t rows = std::min(plan.rows, p.m - row);
      Target c{static_cast<char*>(p.c), p.c_stride, c_bf16};
      c.data = c.at(row, column);
      if (partial) c = {reinterpret_cast<char*>(partial), columns, false};
      for (int64_t k0 = 0; k0 < p.k; k0 += plan.depth) {
        const int64_t depth = std::min(plan.depth, p.k - k0);
        const bool b_stays = row > 0 && !split;
        if (!b_stays) pack(b, p.b, plan, column, columns, k0, depth, plan.kernels->tile_columns);
        pack(a, p.a, plan, row, rows, k0, depth, plan.kernels->tile_rows);
        const bool add = k0 > 0 || p.accumulate;
        multiply_packed(a, b, plan, c, rows, columns, depth, add, p.scale);
      }
      if (partial) round_result(p, plan, partial, row, rows, column, columns);
    }
  }
}

}  // namespace phalanx::ops::cpu
