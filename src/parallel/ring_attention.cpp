#include "parallel/ring_attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <optional>

namespace phalanx::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

enum Tag { kBlock = 1, kGradients = 2 };

/// This rank's place in the ring. In step t it holds the block that rank - t started with.
struct Ring : torch::CustomClassHolder {
  Ring(const ContextLayout& the_layout, const ops::AttentionOptions& the_options,
       comm::Communicator& the_group)
      : layout(the_layout), options(the_options), group(the_group) {}

  int size() const { return group.size(); }
  int next() const { return (group.rank() + 1) % size(); }
  int previous() const { return owner(1); }
  int owner(int step) const { return (group.rank() + size() - step % size()) % size(); }
  std::vector<ops::AttentionPiece> pieces(int step) const { return layout.pieces(group.rank(), owner(step)); }

  const ContextLayout layout;
  const ops::AttentionOptions options;
  comm::Communicator& group;
};

/// All ranks pass a block [2, rows, K, d] on to the next one. Both sides know the layout, so messages have
/// the length of their block, and empty ones are not sent.
class Shift {
 public:
  /// `outgoing` is the block of step `step`, what arrives is that of the step after it.
  Shift(const Ring& ring, const at::Tensor& outgoing, int step, Tag tag)
      : incoming_(
            at::empty({2, ring.layout.num_rows(ring.owner(step + 1)), outgoing.size(2), outgoing.size(3)},
                      outgoing.options())) {
    if (incoming_.numel() > 0) receiving_ = ring.group.recv_async(incoming_, ring.previous(), tag);
    if (outgoing.numel() > 0) sending_ = ring.group.send_async(outgoing, ring.next(), tag);
  }
  at::Tensor wait() {
    if (receiving_) receiving_->wait();
    if (sending_) sending_->wait();
    return incoming_;
  }

 private:
  at::Tensor incoming_;
  std::unique_ptr<comm::Work> receiving_, sending_;
};

/// Calls compute(step, block) for every step, with the next block on its way.
template <class Compute>
void for_each_block(const Ring& ring, const at::Tensor& k, const at::Tensor& v, const Compute& compute) {
  at::Tensor block = at::stack({k, v});  // [2, n, K, d]: one message
  for (int step = 0; step < ring.size(); ++step) {
    std::optional<Shift> shift;
    if (step + 1 < ring.size()) shift.emplace(ring, block, step, kBlock);
    compute(step, block);
    if (shift) block = shift->wait();
  }
}

struct RingAttention : torch::autograd::Function<RingAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const c10::intrusive_ptr<Ring>& ring) {
    ops::AttentionState state = ops::start_attention(q);
    for_each_block(*ring, k, v, [&](int step, const at::Tensor& block) {
      ops::attend_block(state, q, block[0], block[1], ring->pieces(step), ring->options);
    });
    const at::Tensor out = state.out.to(q.scalar_type());
    ctx->save_for_backward({q, k, v, out, state.lse});
    ctx->saved_data["ring"] = c10::IValue::make_capsule(ring);
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &lse = saved[4];
    const auto ring = c10::static_intrusive_pointer_cast<Ring>(ctx->saved_data["ring"].toCapsule());
    const at::Tensor dout = grads[0].contiguous();
    const ops::AttentionQueries queries{q, out, dout, lse, ops::row_delta(out, dout)};
    const at::Tensor dq = at::zeros(q.sizes(), lse.options());
    at::Tensor own;  // gradients of this rank's keys and values by its own queries, [2, n, K, d]
    std::optional<Shift> arriving;  // gradients of the next step's block by the ranks before this one
    for_each_block(*ring, k, v, [&](int step, const at::Tensor& block) {
      const std::vector<ops::AttentionPiece> pieces = ring->pieces(step);
      at::Tensor sum = at::zeros(block.sizes(), lse.options());
      ops::attend_block_backward(queries, block[0], block[1], pieces, ring->options, dq, sum[0], sum[1]);
      if (step == 0) {  // stays at home: the travelling sum begins with the next rank
        own = sum;
        return;
      }
      if (arriving) sum = arriving->wait().add_(sum);
      arriving.emplace(*ring, sum, step, kGradients);
    });
    if (arriving) own.add_(arriving->wait());  // after the last step: home
    const at::ScalarType dtype = q.scalar_type();
    return {dq.to(dtype), own[0].to(dtype), own[1].to(dtype), at::Tensor()};
  }
};

void check_arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const ContextLayout& layout, const comm::Communicator& group) {
  TORCH_CHECK(layout.num_ranks() == group.size(), "ring_attention: the layout is for ", layout.num_ranks(),
              " ranks, the group has ", group.size());
  const int64_t rows = layout.num_rows(group.rank());
  TORCH_CHECK(q.size(0) == rows && k.size(0) == rows && v.sizes() == k.sizes() && q.size(2) == k.size(2),
              "ring_attention: rank ", group.rank(), " holds ", rows, " rows, but q, k, v are ", q.sizes(),
              ", ", k.sizes(), ", ", v.sizes());
  TORCH_CHECK(q.size(1) % k.size(1) == 0, "ring_attention: ", q.size(1), " query heads are no multiple of ",
              k.size(1), " key heads");
}

}  // namespace

at::Tensor ring_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const ContextLayout& layout, const ops::AttentionOptions& options,
                          comm::Communicator& group) {
  check_arguments(q, k, v, layout, group);
  return RingAttention::apply(q.contiguous(), k.contiguous(), v.contiguous(),
                              c10::make_intrusive<Ring>(layout, options, group));
}

}  // namespace phalanx::parallel
