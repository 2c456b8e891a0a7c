// compare() of verify_export.h: log-probabilities of two models without either's logits over the whole
// vocabulary.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "generate/verify_export.h"

namespace phalanx::generate {
namespace {

/// All prompts of two tokens or more, joined to one row.
struct JoinedPrompts {
  model::ModelInput input;
  at::Tensor places;  // [N] of the tokens that have a next one
  at::Tensor next;    // [N] what it is
};

JoinedPrompts joined_prompts(const std::vector<std::vector<int32_t>>& prompts) {
  std::vector<int64_t> ids, positions, places, next;
  JoinedPrompts joined;
  joined.input.cu_seqlens = {0};
  for (const std::vector<int32_t>& prompt : prompts) {
    if (prompt.size() < 2) continue;
    for (size_t i = 0; i < prompt.size(); ++i) {
      if (i + 1 < prompt.size()) {
        places.push_back(static_cast<int64_t>(ids.size()));
        next.push_back(prompt[i + 1]);
      }
      ids.push_back(prompt[i]);
      positions.push_back(static_cast<int64_t>(i));
    }
    joined.input.cu_seqlens.push_back(static_cast<int32_t>(ids.size()));
  }
  joined.input.input_ids = at::tensor(ids, at::kLong);
  joined.input.position_ids = at::tensor(positions, at::kLong);
  joined.places = at::tensor(places, at::kLong);
  joined.next = at::tensor(next, at::kLong);
  return joined;
}

constexpr double kDecided = 0.1;  // probability of the most likely token

/// Of each row of logits, from pieces of the vocabulary: [N], fp64 where they are not ids.
struct LogitStatistics {
  at::Tensor next;  // ids
  at::Tensor largest = at::full(next.sizes(), -std::numeric_limits<double>::infinity(), at::kDouble);
  at::Tensor sum = at::zeros_like(largest);      // of exp(logit - largest)
  at::Tensor of_next = at::zeros_like(largest);  // the logit of `next`
  at::Tensor best = at::zeros_like(next);        // id of the largest

  /// @param logits  [N, n] fp64 of the ids from `begin` on. @return what sums over exp(logit - largest)
  /// shrink by.
  at::Tensor add(const at::Tensor& logits, int64_t begin) {
    const auto [top, index] = logits.max(-1);
    best = at::where(top > largest, index + begin, best);
    const at::Tensor new_largest = at::maximum(largest, top);
    const at::Tensor shrink = (largest - new_largest).exp();
    largest = new_largest;
    sum = sum * shrink + (logits - largest.unsqueeze(1)).exp().sum(-1);
    const at::Tensor is_here = next.ge(begin).logical_and(next.lt(begin + logits.size(1)));
    const at::Tensor column = (next - begin).clamp(0, logits.size(1) - 1).unsqueeze(1);
    of_next = at::where(is_here, logits.gather(1, column).squeeze(1), of_next);
    return shrink;
  }
  at::Tensor log_sum() const { return largest + sum.log(); }
};

at::Tensor hidden_of(const Answering& answering, const JoinedPrompts& prompts) {
  return answering.model.hidden(prompts.input).index_select(0, prompts.places);
}

}  // namespace

Answering answering(model::CausalLm& model) {
  return {model, [weight = model.output_weight()](int64_t begin, int64_t end) {
            return weight.narrow(0, begin, end - begin);
          }};
}

Comparison compare(const Answering& source, const Answering& other,
                   const std::vector<std::vector<int32_t>>& prompts) {
  const at::NoGradGuard no_grad;
  const JoinedPrompts joined = joined_prompts(prompts);
  Comparison result;
  result.num_tokens = joined.places.numel();
  if (result.num_tokens == 0) return result;
  const at::Tensor mine = hidden_of(source, joined), theirs = hidden_of(other, joined);
  LogitStatistics a{joined.next}, b{joined.next};
  // KL = sum_v p_v (a_v - b_v) - (lse a - lse b), p = softmax(a)
  at::Tensor weighed = at::zeros_like(a.sum);
  const auto logits = [](const Answering& answering, const at::Tensor& hidden, int64_t begin, int64_t end) {
    return answering.model.head().logits(hidden, answering.output_rows(begin, end)).to(at::kDouble);
  };
  const at::Tensor shape = source.model.output_weight();
  model::for_each_piece(shape.size(0), shape.size(1), [&](int64_t begin, int64_t end) {
    const at::Tensor la = logits(source, mine, begin, end), lb = logits(other, theirs, begin, end);
    const at::Tensor shrink = a.add(la, begin);
    b.add(lb, begin);
    weighed = weighed * shrink + ((la - a.largest.unsqueeze(1)).exp() * (la - lb)).sum(-1);
  });
  const at::Tensor difference = ((a.of_next - a.log_sum()) - (b.of_next - b.log_sum())).abs();
  if (!difference.isfinite().all().item<bool>())
    core::fail(core::ExitCode::kBadInput,
               "log-probabilities are not finite, so the two models cannot be compared");
  result.max_difference = difference.max().item<double>();
  result.mean_kl = (weighed / a.sum - (a.log_sum() - b.log_sum())).mean().item<double>();
  const at::Tensor is_same = a.best == b.best;
  result.top1_agreement = is_same.to(at::kDouble).mean().item<double>();
  const at::Tensor is_decided = (a.largest - a.log_sum()).ge(std::log(kDecided));
  result.num_decided = is_decided.sum().item<int64_t>();
  if (result.num_decided > 0)
    result.decided_agreement =
        is_same.logical_and(is_decided).sum().item<double>() / static_cast<double>(result.num_decided);
  return result;
}

Comparison compare(model::CausalLm& source, model::CausalLm& other,
                   const std::vector<std::vector<int32_t>>& prompts) {
  return compare(answering(source), answering(other), prompts);
}

}  // namespace phalanx::generate
