#include "parallel/collective_ops.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/recomputed.h"

namespace phalanx::parallel {
namespace {

using comm::Communicator;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The group outlives every graph: the mesh owns it.
Communicator& group_of(AutogradContext* ctx) {
  return *reinterpret_cast<Communicator*>(ctx->saved_data["group"].toInt());
}

at::Tensor all_gathered(const at::Tensor& x, int64_t num_rows, Communicator& group) {
  at::Tensor all = at::empty({x.size(0) * group.size(), x.size(1)}, x.options());
  group.all_gather(all, x.contiguous());
  return all.narrow(0, 0, num_rows);
}

at::Tensor reduce_scattered(const at::Tensor& x, Communicator& group) {
  const int64_t rows = rows_per_rank(x.size(0), group), missing = rows * group.size() - x.size(0);
  const at::Tensor whole = missing == 0 ? x.contiguous() : at::constant_pad_nd(x, {0, 0, 0, missing});
  at::Tensor mine = at::empty({rows, x.size(1)}, x.options());
  group.reduce_scatter(mine, whole);
  return mine;
}

struct CopyToGroup : torch::autograd::Function<CopyToGroup> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, int64_t group) {
    ctx->saved_data["group"] = group;
    at::Tensor y = x.view_as(x);
    ops::share_recipe(y, x);
    return y;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    at::Tensor sum = grads[0].clone(at::MemoryFormat::Contiguous);
    group_of(ctx).all_reduce(sum);
    return {sum, at::Tensor()};
  }
};

struct CountOnce : torch::autograd::Function<CountOnce> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, int64_t group) {
    ctx->saved_data["group"] = group;
    return x.view_as(x);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return {grads[0] / group_of(ctx).size(), at::Tensor()};
  }
};

struct SumOverGroup : torch::autograd::Function<SumOverGroup> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, int64_t group) {
    ctx->mark_dirty({x});
    reinterpret_cast<Communicator*>(group)->all_reduce(x);
    return x;
  }
  static variable_list backward(AutogradContext*, const variable_list& grads) {
    return {grads[0], at::Tensor()};
  }
};

struct GatherRows : torch::autograd::Function<GatherRows> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, int64_t num_rows, int64_t group) {
    ctx->saved_data["group"] = group;
    return all_gathered(x, num_rows, *reinterpret_cast<Communicator*>(group));
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return {reduce_scattered(grads[0], group_of(ctx)), at::Tensor(), at::Tensor()};
  }
};

struct SumAndScatterRows : torch::autograd::Function<SumAndScatterRows> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, int64_t group) {
    ctx->saved_data["group"] = group;
    ctx->saved_data["num_rows"] = x.size(0);
    return reduce_scattered(x, *reinterpret_cast<Communicator*>(group));
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return {all_gathered(grads[0], ctx->saved_data["num_rows"].toInt(), group_of(ctx)), at::Tensor()};
  }
};

int64_t handle(Communicator& group) {
  return reinterpret_cast<int64_t>(&group);
}

}  // namespace

at::Tensor copy_to_group(const at::Tensor& x, Communicator& group) {
  return group.size() == 1 ? x : CopyToGroup::apply(x, handle(group));
}

at::Tensor count_once_in_group(const at::Tensor& x, Communicator& group) {
  return group.size() == 1 ? x : CountOnce::apply(x, handle(group));
}

at::Tensor sum_over_group(const at::Tensor& x, Communicator& group) {
  return group.size() == 1 ? x : SumOverGroup::apply(x.contiguous(), handle(group));
}

int64_t rows_per_rank(int64_t num_rows, const Communicator& group) {
  return (num_rows + group.size() - 1) / group.size();
}

at::Tensor gather_rows(const at::Tensor& x, int64_t num_rows, Communicator& group) {
  return group.size() == 1 ? x : GatherRows::apply(x, num_rows, handle(group));
}

at::Tensor sum_and_scatter_rows(const at::Tensor& x, Communicator& group) {
  return group.size() == 1 ? x : SumAndScatterRows::apply(x, handle(group));
}

}  // namespace phalanx::parallel
