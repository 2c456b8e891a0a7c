#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "model/linear.h"

namespace phalanx::model {

/// The experts of one layer, each w2(silu(w1 x) * w3 x). Parameters are "0.w1.weight", ...: Hugging Face's
/// names, which the family gives. Where the tokens go can be replaced from outside, as Linear::Product can.
class Experts : public Module {
 public:
  /// Runs the experts on rows in expert order.
  ///   rows    [R, h], sorted by expert (ops::to_expert_order)
  ///   counts  [num_experts()]: rows of each expert of the whole model, in host memory
  ///   returns [R, h], the outputs in the order of the rows; differentiable in rows
  /// Expert parallelism sends the rows of each expert to the rank that holds it, calls base() there on what
  /// came, sorted by expert, and sends the outputs back.
  using Dispatch = std::function<at::Tensor(const Experts& experts, const at::Tensor& rows,
                                            const std::vector<int64_t>& counts)>;

  /// What the matrices of an expert are called.
  struct Names {
    std::string w1, w3, w2;
  };
  Experts(const TransformerConfig& config, const Names& names);

  at::Tensor forward(const at::Tensor& rows, const std::vector<int64_t>& counts) const {
    return dispatch_ ? dispatch_(*this, rows, counts) : base(rows, counts);
  }
  /// The experts that are held here, on their own rows, whatever is installed.
  /// @param counts  [num_kept()].
  at::Tensor base(const at::Tensor& rows, const std::vector<int64_t>& counts) const;

  void set_dispatch(Dispatch dispatch) { dispatch_ = std::move(dispatch); }
  void reset_dispatch() { dispatch_ = {}; }

  /// Gives up all experts but `count` from `first` on; those keep their names. To be called before the
  /// parameters are allocated.
  void keep(int64_t first, int64_t count);

  int64_t num_experts() const { return num_experts_; }  ///< of the model
  int64_t first_kept() const { return first_kept_; }
  int64_t num_kept() const { return static_cast<int64_t>(w1_.size()); }

 private:
  using Linears = std::vector<std::shared_ptr<Linear>>;
  static at::Tensor products(const Linears& linears, const at::Tensor& rows,
                             const std::vector<int64_t>& counts);

  int64_t num_experts_, first_kept_ = 0;
  Linears w1_, w2_, w3_;  // of the kept experts
  Dispatch dispatch_;     // empty: base()
};

/// Sparse mixture of experts in place of one feed-forward layer (Jiang et al. 2024): every token is seen by
/// the num_experts_per_tok experts that the router finds likeliest, and gets their outputs, weighted. No
/// token is ever dropped. Parameters: "gate.weight" [E, h] and those of Experts under "experts".
class SparseMoe : public FeedForward {
 public:
  /// From what the experts held here have made to the layer's output: a scheme that cuts them adds the parts
  /// here.
  using Exit = std::function<Output(const Output& output)>;

  SparseMoe(const TransformerConfig& config, const Experts::Names& names);
  Output forward(const at::Tensor& x) const override;

  void set_exit(Exit exit) { exit_ = std::move(exit); }

 private:
  int64_t num_experts_, num_experts_per_tok_;
  bool normalises_weights_, has_router_loss_;
  std::shared_ptr<Linear> gate_;
  std::shared_ptr<Experts> experts_;
  Exit exit_;  // empty: the output as it is
};

/// What routers add to the training loss, over the tokens of all layers of a whole global batch:
///
///     loss = balance_coef E sum_e (sent_e / T) (p_e / T) + z_coef z / T
///
/// with sent_e tokens sent to expert e, p_e and z sums of probabilities and of log_z^2, T tokens (a token
/// counts once per layer). sent_e and T have no gradient: whoever knows them of the whole batch can compute
/// the part of the loss that any of its tokens add, and its exact gradient, from the sums of those alone. Has
/// no parameters; it is a module so that schemes find it.
class RouterLoss : public Module {
 public:
  /// From the sums (ops::router_sums) of the tokens seen here to those of all tokens that the loss is a mean
  /// over. Not differentiated.
  using Totals = std::function<at::Tensor(const at::Tensor& sums)>;

  explicit RouterLoss(const TransformerConfig& config);

  /// The part of the loss that the tokens of these sums add, a scalar; undefined for undefined sums.
  at::Tensor forward(const at::Tensor& sums) const;
  bool is_wanted() const { return balance_coef_ > 0 || z_coef_ > 0; }

  void set_totals(Totals totals) { totals_ = std::move(totals); }
  void reset_totals() { totals_ = {}; }

 private:
  double balance_coef_, z_coef_;
  Totals totals_;  // empty: the tokens seen here are all
};

}  // namespace phalanx::model
