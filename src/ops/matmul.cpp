#include "ops/matmul.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "ops/batch_invariant.h"
#include "ops/cpu/dispatch.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/kernels.h"
#include "ops/tile_product.h"

namespace phalanx::ops {
namespace {

constexpr int64_t kFewRows = 8;  // decoding: the weight is read once, at memory speed, without packing

cpu::Element element_of(const at::Tensor& t) {
  return t.scalar_type() == at::kBFloat16 ? cpu::Element::kBF16 : cpu::Element::kF32;
}

bool packed(const at::Tensor& a) {
  return cpu::has_kernels(a) && cpu::can_multiply(element_of(a));
}

at::Tensor rows_of(const at::Tensor& t) {
  return t.stride(1) == 1 || t.size(1) == 1 ? t : t.contiguous();
}

// c [M, N] (=, +=) scale * op(a) op(b); an operand is transposed when its k runs along rows.
void multiply(const at::Tensor& c, const at::Tensor& left, bool a_k_last, const at::Tensor& right,
              bool b_k_last, bool accumulate, double scale) {
  TORCH_CHECK(left.scalar_type() == right.scalar_type(), "matmul: operands are ", left.scalar_type(), " and ",
              right.scalar_type(), ", they must be of one dtype");
  const at::Tensor a = rows_of(left), b = rows_of(right);
  const int64_t k = a_k_last ? a.size(1) : a.size(0);
  cpu::multiply({.m = c.size(0),
                 .n = c.size(1),
                 .k = k,
                 .a = {a.data_ptr(), a.stride(0), a_k_last},
                 .b = {b.data_ptr(), b.stride(0), b_k_last},
                 .element = element_of(a),
                 .c = c.data_ptr(),
                 .c_stride = c.stride(0),
                 .c_element = element_of(c),
                 .accumulate = accumulate,
                 .scale = static_cast<float>(scale)});
}

at::Tensor few_rows(const at::Tensor& a, const at::Tensor& b) {
  at::Tensor y = at::empty({a.size(0), b.size(0)}, a.options());
  const at::Tensor x = a.to(at::kFloat).contiguous();
  cpu::visit(a, [&](auto zero) {
    using T = decltype(zero);
    const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 15) / std::max<int64_t>(1, b.size(1)));
    at::parallel_for(0, b.size(0), grain, [&](int64_t begin, int64_t end) {
      cpu::row_kernels<T>().few_rows(cpu::data<float>(x), cpu::data<T>(b), cpu::data<T>(y), a.size(0),
                                     b.size(1), begin, end, b.size(0));
    });
  });
  return y;
}

/// Packed kernels and tiles give a row the same bits in every call; the others do not.
bool must_pack(const at::Tensor& a) {
  if (!BatchInvariant::is_active()) return false;
  if (!packed(a)) BatchInvariant::refuse("matrix products have no kernel for this dtype on this machine");
  return true;
}

}  // namespace

at::Tensor matmul_nt(const at::Tensor& a, const at::Tensor& b) {
  if (BatchInvariant::is_active() ? fits_tiles(a, b) : few_rows_fit_tiles(a, b))
    return tile_product_nt(a, b, a.scalar_type());
  if (must_pack(a) || packed(a)) {
    at::Tensor c = at::empty({a.size(0), b.size(0)}, a.options());
    multiply(c, a, true, b, true, false, 1.0);
    return c;
  }
  const bool is_decoding = cpu::has_kernels(a) && a.size(0) <= kFewRows && a.size(0) > 0 && b.is_contiguous();
  return is_decoding ? few_rows(a, b) : at::linear(a, b);
}

at::Tensor matmul_nn(const at::Tensor& a, const at::Tensor& b) {
  if (!packed(a)) return at::mm(a, b);
  at::Tensor c = at::empty({a.size(0), b.size(1)}, a.options());
  multiply(c, a, true, b, false, false, 1.0);
  return c;
}

void matmul_tn_add(const at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b, double scale) {
  if (a.size(0) == 0) return;
  at::Tensor c = accumulator;
  if (packed(a)) {
    multiply(c, a, false, b, false, true, scale);
  } else if (c.scalar_type() == a.scalar_type()) {
    c.addmm_(a.t(), b, 1.0, scale);
  } else if (tiles_apply(a)) {
    tile_product_tn_add(c, a, b, scale);
  } else if (a.is_cuda()) {
    c.add_(at::mm(a.t(), b, c.scalar_type()), scale);  // bf16 operands, sums and result in fp32
  } else {
    c.add_(at::mm(a.t().to(c.scalar_type()), b.to(c.scalar_type())), scale);
  }
}

at::Tensor matmul_tn(const at::Tensor& a, const at::Tensor& b, double scale) {
  if (packed(a)) {
    at::Tensor c = at::empty({a.size(1), b.size(1)}, a.options());
    multiply(c, a, false, b, false, false, scale);
    return c;
  }
  at::Tensor c = at::mm(a.t(), b);
  return scale == 1.0 ? c : c.mul_(scale);
}

void matmul_nt_add_(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale) {
  if (must_pack(a)) {
    at::Tensor sum = c.to(at::kFloat);  // c itself where it is fp32
    multiply(sum, a, true, b, true, /*accumulate=*/true, scale);
    if (!sum.is_same(c)) c.copy_(sum);
    return;
  }
  at::Tensor(c).addmm_(a, b.t(), 1.0, scale);
}

void matmul_nn_add_(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale) {
  at::Tensor(c).addmm_(a, b, 1.0, scale);
}

}  // namespace phalanx::ops
