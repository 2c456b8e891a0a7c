#include "parallel/ulysses_attention.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <numeric>

#include "ops/attention.h"
#include "ops/sum_dtype.h"

namespace phalanx::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What all exchanges of one call share.
struct Plan : torch::CustomClassHolder {
  Plan(const ContextLayout& layout, int64_t query_heads, int64_t key_heads, comm::Communicator& the_group)
      : num_query_heads(query_heads), num_key_heads(key_heads), group(the_group) {
    for (int rank = 0; rank < group.size(); ++rank) {
      rows.push_back(layout.num_rows(rank));
      shares.push_back(ulysses_heads(query_heads, key_heads, group.size(), rank));
    }
  }
  int64_t own_rows() const { return rows[group.rank()]; }
  const HeadShare& own_share() const { return shares[group.rank()]; }

  int64_t num_query_heads, num_key_heads;
  std::vector<int64_t> rows;      // per rank
  std::vector<HeadShare> shares;  // per rank
  comm::Communicator& group;
};

/// The blocks of this rank's rows, each with the heads of one rank, [own_rows, heads of that rank, d], for
/// all rows with the heads of this rank, [N, own_heads, d]. Ranks hold contiguous rows, so what arrives is in
/// order.
at::Tensor rows_to_heads(const Plan& plan, const std::vector<at::Tensor>& per_rank) {
  const int64_t own_heads = per_rank[plan.group.rank()].size(1), dim = per_rank.front().size(2);
  std::vector<at::Tensor> flat;
  std::vector<int64_t> sent, received;
  for (int rank = 0; rank < plan.group.size(); ++rank) {
    flat.push_back(per_rank[rank].reshape({-1}));
    sent.push_back(flat.back().numel());
    received.push_back(plan.rows[rank] * own_heads * dim);
  }
  const at::Tensor out =
      at::empty({std::accumulate(plan.rows.begin(), plan.rows.end(), int64_t{0}), own_heads, dim},
                per_rank.front().options());
  plan.group.all_to_all_async(out, at::cat(flat), received, sent)->wait();
  return out;
}

/// The way back: [N, own_heads, d] -> per rank [own_rows, its number of heads, d].
std::vector<at::Tensor> heads_to_rows(const Plan& plan, const at::Tensor& all_rows,
                                      const std::vector<int64_t>& num_heads) {
  const int64_t own_heads = all_rows.size(1), dim = all_rows.size(2);
  std::vector<int64_t> sent, received;
  for (int rank = 0; rank < plan.group.size(); ++rank) {
    sent.push_back(plan.rows[rank] * own_heads * dim);
    received.push_back(plan.own_rows() * num_heads[rank] * dim);
  }
  const at::Tensor in =
      at::empty({std::accumulate(received.begin(), received.end(), int64_t{0})}, all_rows.options());
  plan.group.all_to_all_async(in, all_rows.contiguous(), received, sent)->wait();
  std::vector<at::Tensor> per_rank = in.split_with_sizes(received);
  for (int rank = 0; rank < plan.group.size(); ++rank)
    per_rank[rank] = per_rank[rank].view({plan.own_rows(), num_heads[rank], dim});
  return per_rank;
}

/// q, k, v of all heads and this rank's rows -> of all rows and this rank's heads. One message to each rank:
/// query, key and value heads beside each other.
struct ToHeads : torch::autograd::Function<ToHeads> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                               const at::Tensor& v, const c10::intrusive_ptr<Plan>& plan) {
    std::vector<at::Tensor> per_rank;
    for (const HeadShare& share : plan->shares) {
      per_rank.push_back(at::cat(
          {q.narrow(1, share.first_query, share.num_queries), k.narrow(1, share.first_key, share.num_keys),
           v.narrow(1, share.first_key, share.num_keys)},
          1));
    }
    ctx->saved_data["plan"] = c10::IValue::make_capsule(plan);
    const HeadShare& own = plan->own_share();
    const std::vector<at::Tensor> heads =
        rows_to_heads(*plan, per_rank).split_with_sizes({own.num_queries, own.num_keys, own.num_keys}, 1);
    // A run of query heads has its own copy of the key head where the runs do not follow the key heads.
    const at::Tensor runs = at::tensor(own.key_of_run, at::TensorOptions(at::kLong).device(q.device()));
    return {heads[0].contiguous(), heads[1].index_select(1, runs), heads[2].index_select(1, runs)};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto plan = c10::static_intrusive_pointer_cast<Plan>(ctx->saved_data["plan"].toCapsule());
    std::vector<int64_t> num_heads;
    for (const HeadShare& share : plan->shares) num_heads.push_back(share.num_queries + 2 * share.num_keys);
    const HeadShare& own = plan->own_share();
    const std::vector<at::Tensor> per_rank = heads_to_rows(
        *plan, at::cat({grads[0], sum_runs(own, grads[1]), sum_runs(own, grads[2])}, 1), num_heads);

    const at::ScalarType dtype = grads[0].scalar_type();
    const int64_t rows = plan->own_rows(), dim = grads[0].size(2);
    const at::Tensor dq = at::empty({rows, plan->num_query_heads, dim}, grads[0].options());
    const at::Tensor dk = at::zeros({rows, plan->num_key_heads, dim}, dq.options().dtype(ops::sum_dtype(dq)));
    const at::Tensor dv = at::zeros_like(dk);
    for (int rank = 0; rank < plan->group.size(); ++rank) {
      const HeadShare& share = plan->shares[rank];
      const std::vector<at::Tensor> parts =
          per_rank[rank].split_with_sizes({share.num_queries, share.num_keys, share.num_keys}, 1);
      dq.narrow(1, share.first_query, share.num_queries).copy_(parts[0]);
      dk.narrow(1, share.first_key, share.num_keys).add_(parts[1]);
      dv.narrow(1, share.first_key, share.num_keys).add_(parts[2]);
    }
    return {dq, dk.to(dtype), dv.to(dtype), at::Tensor()};
  }

 private:
  /// Gradients of the copies -> of the key heads that were received.
  static at::Tensor sum_runs(const HeadShare& own, const at::Tensor& grad) {
    if (static_cast<int64_t>(own.key_of_run.size()) == own.num_keys) return grad;
    const at::Tensor sum =
        at::zeros({grad.size(0), own.num_keys, grad.size(2)}, grad.options().dtype(ops::sum_dtype(grad)));
    for (size_t run = 0; run < own.key_of_run.size(); ++run)
      sum.select(1, own.key_of_run[run]).add_(grad.select(1, static_cast<int64_t>(run)));
    return sum.to(grad.scalar_type());
  }
};

/// [N, H/c, d] of this rank's heads -> [n, H, d] of this rank's rows.
struct ToRows : torch::autograd::Function<ToRows> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& out,
                            const c10::intrusive_ptr<Plan>& plan) {
    ctx->saved_data["plan"] = c10::IValue::make_capsule(plan);
    const std::vector<int64_t> num_heads(plan->shares.size(), plan->own_share().num_queries);
    return at::cat(heads_to_rows(*plan, out, num_heads), 1);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto plan = c10::static_intrusive_pointer_cast<Plan>(ctx->saved_data["plan"].toCapsule());
    return {rows_to_heads(*plan, grads[0].chunk(plan->group.size(), 1)), at::Tensor()};
  }
};

std::string divisors_of(int64_t number) {
  std::vector<int64_t> divisors;
  for (int64_t i = 1; i <= number; ++i) {
    if (number % i == 0) divisors.push_back(i);
  }
  if (divisors.size() == 1) return "1";
  const int64_t last = divisors.back();
  divisors.pop_back();
  return fmt::format("{} or {}", fmt::join(divisors, ", "), last);
}

void check_arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const ContextLayout& layout, const comm::Communicator& group) {
  TORCH_CHECK(layout.num_ranks() == group.size(), "ulysses_attention: the layout is for ", layout.num_ranks(),
              " ranks, the group has ", group.size());
  int64_t begin = 0;
  for (int rank = 0; rank < layout.num_ranks(); ++rank) {
    const auto& ranges = layout.ranges[rank];
    TORCH_CHECK(ranges.empty() || (ranges.size() == 1 && ranges.front().begin == begin),
                "ulysses_attention: ranks must hold contiguous rows in rank order: the layout must be of "
                "ContextKind::kUlysses");
    begin += layout.num_rows(rank);
  }
  const int64_t rows = layout.num_rows(group.rank());
  TORCH_CHECK(q.size(0) == rows && k.size(0) == rows && v.sizes() == k.sizes() && q.size(2) == k.size(2),
              "ulysses_attention: rank ", group.rank(), " holds ", rows, " rows, but q, k, v are ", q.sizes(),
              ", ", k.sizes(), ", ", v.sizes());
  TORCH_CHECK(q.size(1) % k.size(1) == 0, "ulysses_attention: ", q.size(1),
              " query heads are no multiple of ", k.size(1), " key heads");
}

}  // namespace

std::string ulysses_violation(int64_t num_query_heads, int num_ranks) {
  if (num_query_heads % num_ranks == 0) return "";
  return fmt::format(
      "parallel.cp is {} but must divide the query heads of a rank (model.num_attention_heads / parallel.tp) "
      "= {} with Ulysses attention; try {}, or ring attention, which takes any",
      num_ranks, num_query_heads, divisors_of(num_query_heads));
}

HeadShare ulysses_heads(int64_t num_query_heads, int64_t num_key_heads, int num_ranks, int rank) {
  const std::string violation = ulysses_violation(num_query_heads, num_ranks);
  TORCH_CHECK(violation.empty(), violation);
  const int64_t group = num_query_heads / num_key_heads, count = num_query_heads / num_ranks;
  HeadShare share;
  share.first_query = rank * count;
  share.num_queries = count;
  share.first_key = share.first_query / group;
  share.num_keys = (share.first_query + count - 1) / group - share.first_key + 1;
  const int64_t run = std::gcd(count, group);  // the longest that no key head's end cuts, on any rank
  for (int64_t head = share.first_query; head < share.first_query + count; head += run)
    share.key_of_run.push_back(head / group - share.first_key);
  return share;
}

at::Tensor ulysses_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const ContextLayout& layout, const ops::AttentionOptions& options,
                             comm::Communicator& group) {
  check_arguments(q, k, v, layout, group);
  const auto plan = c10::make_intrusive<Plan>(layout, q.size(1), k.size(1), group);
  const variable_list heads = ToHeads::apply(q, k, v, plan);
  const at::Tensor out = ops::varlen_attention(heads[0], heads[1], heads[2], layout.cu_seqlens, options);
  return ToRows::apply(out, plan);
}

}  // namespace phalanx::parallel
