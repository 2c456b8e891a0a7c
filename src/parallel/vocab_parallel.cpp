#include "parallel/vocab_parallel.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <vector>

#include "ops/cross_entropy.h"
#include "ops/matmul.h"
#include "ops/sum_dtype.h"

namespace phalanx::parallel {
namespace {

// Which labels this rank has rows for, and these rows (row 0 for the others).
struct OwnLabels {
  at::Tensor is_own, row;  // [n, 1]
};

OwnLabels own_labels(const at::Tensor& labels, int64_t first, int64_t count) {
  const at::Tensor row = labels.unsqueeze(1) - first;
  const at::Tensor is_own = row.ge(0).logical_and(row.lt(count));
  return {is_own, row.masked_fill(is_own.logical_not(), 0)};
}

void run_rows(const ops::CrossEntropyRows& rows, const at::Tensor& weight, int64_t first, double softcap,
              comm::Communicator& tp) {
  at::Tensor logits = ops::wide_logits(rows.hidden, weight);  // [n, own rows]
  at::Tensor slope;                                           // of the soft cap
  if (softcap > 0) {
    logits.div_(softcap).tanh_();
    slope = 1 - logits.square();
    logits.mul_(softcap);
  }
  if (rows.temperature != 1.0) logits.mul_(1.0 / rows.temperature);
  at::Tensor maximum = logits.amax(1);
  tp.all_reduce(maximum, comm::ReduceOp::kMax);
  logits.sub_(maximum.unsqueeze(1));
  const OwnLabels own = own_labels(rows.labels, first, weight.size(0));
  const at::Tensor own_logit =
      logits.gather(1, own.row).masked_fill_(own.is_own.logical_not(), 0.0).squeeze(1);
  const at::Tensor shifted = rows.entropies.defined() ? logits.clone() : at::Tensor();
  logits.exp_();
  std::vector<at::Tensor> addends = {logits.sum(1), own_logit};
  if (shifted.defined()) addends.push_back((shifted * logits).sum(1));
  const at::Tensor sums = at::stack(addends);  // [2 or 3, n]
  tp.all_reduce(sums);
  at::Tensor(rows.losses).copy_(sums[0].log() - sums[1]);
  if (shifted.defined()) at::Tensor(rows.entropies).copy_(sums[0].log() - sums[2] / sums[0]);
  if (!rows.wants_gradient()) return;
  const at::Tensor scales = rows.grad_scales * (1.0 / rows.temperature);
  logits.mul_((scales / sums[0]).unsqueeze(1));
  logits.scatter_add_(1, own.row, own.is_own.to(logits.scalar_type()).mul_(scales.neg().unsqueeze(1)));
  if (slope.defined()) logits.mul_(slope);
  const at::Tensor d = logits.to(weight.scalar_type());
  if (rows.hidden_grad.defined()) at::Tensor(rows.hidden_grad).copy_(ops::matmul_nn(d, weight));
  if (rows.weight_grad.defined()) ops::matmul_tn_add(rows.weight_grad, d, rows.hidden);
}

}  // namespace

at::Tensor vocab_parallel_lookup(const model::Embedding& embedding, const at::Tensor& ids, int64_t first,
                                 int64_t end) {
  const at::Tensor is_other = ids.lt(first).logical_or(ids.ge(end));
  return embedding.base(ids.masked_fill(is_other, first), first).masked_fill(is_other.unsqueeze(1), 0.0);
}

ops::CrossEntropyKernel VocabParallelHead::kernel() const {
  return [this](const ops::CrossEntropyRows& rows, const at::Tensor& w) {
    run_rows(rows, w, first_, softcap(), tp_);
  };
}

at::Tensor VocabParallelHead::cross_entropy(const at::Tensor& hidden, const at::Tensor& weight,
                                            const at::Tensor& labels, double grad_scale) const {
  return ops::linear_cross_entropy(hidden, weight, labels, grad_scale, kernel(), vocab_size_);
}

at::Tensor VocabParallelHead::logprobs(const at::Tensor& hidden, const at::Tensor& weight,
                                       const at::Tensor& labels, const ops::LogprobOptions& options) const {
  return ops::token_logprobs(hidden, weight, labels, kernel(), vocab_size_, options);
}

at::Tensor VocabParallelHead::logits(const at::Tensor& hidden, const at::Tensor& weight) const {
  const at::NoGradGuard no_grad;
  at::Tensor whole = at::zeros({hidden.size(0), vocab_size_}, hidden.options().dtype(ops::sum_dtype(hidden)));
  whole.narrow(1, first_, weight.size(0)).copy_(OutputHead::logits(hidden, weight));
  tp_.all_reduce(whole);  // a few rows; every element has one addend
  return whole;
}

}  // namespace phalanx::parallel
