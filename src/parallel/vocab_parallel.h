#pragma once
#include <ATen/core/Tensor.h>

#include "comm/communicator.h"
#include "model/embedding.h"
#include "model/output_head.h"
#include "ops/cross_entropy.h"

namespace phalanx::parallel {

/// This rank's addend of the embedding of `ids` [N]: rows of ids in [first, end), zeros for the others -> [N,
/// h].
at::Tensor vocab_parallel_lookup(const model::Embedding& embedding, const at::Tensor& ids, int64_t first,
                                 int64_t end);

/// The head of a vocabulary that is cut over ranks (Shoeybi et al. 2019): `weight` holds rows first, first +
/// 1, ... of V. Logits of the whole vocabulary exist nowhere: for each chunk of rows the ranks exchange the
/// row maxima, then the sums of exponentials together with the logit of the label, 3 fp32 numbers a row, 4
/// with entropies. Cross-entropy computes its gradients right away, as ops::linear_cross_entropy does, and
/// with the same rules for `grad_scale`; the gradient of hidden is this rank's addend (f sums it). Uneven
/// parts are fine, so a vocabulary needs no padding.
class VocabParallelHead : public model::OutputHead {
 public:
  VocabParallelHead(int64_t first, int64_t vocab_size, double softcap, comm::Communicator& tp)
      : OutputHead(softcap), first_(first), vocab_size_(vocab_size), tp_(tp) {}
  at::Tensor cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                           double grad_scale) const override;
  at::Tensor logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                      const ops::LogprobOptions& options) const override;
  at::Tensor logits(const at::Tensor& hidden, const at::Tensor& weight) const override;

 private:
  ops::CrossEntropyKernel kernel() const;

  int64_t first_, vocab_size_;
  comm::Communicator& tp_;
};

}  // namespace phalanx::parallel
