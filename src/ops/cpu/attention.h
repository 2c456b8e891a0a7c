#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ops/last_queries.h"

/// Spreads the flash attention kernels over samples and key heads. The bits do not depend on the number of
/// threads.
namespace phalanx::ops::cpu {

/// Whether the kernels below take these tensors on this machine.
bool can_attend(const at::Tensor& q);

/// Whether they turn bf16 rows into fp32 first.
bool attention_widens(const at::Tensor& q);

/// q, out [N, H, d], k and v [N, K, d], lse [H, N] fp32 (natural logarithm), all contiguous.
void attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
            const std::vector<int64_t>& cu_seqlens, double scale, const at::Tensor& out,
            const at::Tensor& lse);
/// ops::attend_last(): a query gets the same bits whichever queries are asked for.
void attend_last(const std::vector<LastQueries>& samples, double scale);
void attend_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& out, const at::Tensor& lse, const std::vector<int64_t>& cu_seqlens,
                     double scale, const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv);

}  // namespace phalanx::ops::cpu
