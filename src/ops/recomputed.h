#pragma once
#include <torch/csrc/autograd/custom_function.h>

#include <functional>

/// Saving little for the backward: the output of a cheap operation (norm, SwiGLU) carries the recipe that
/// made it, and an operation that needs such a tensor again saves the recipe's ingredients, which somebody
/// saves anyway, instead of the tensor.
namespace phalanx::ops {

/// While one lives, outputs of this thread's forwards get no recipe: they are kept for the backward
/// themselves.
class KeptActivations {
 public:
  KeptActivations();
  ~KeptActivations();
  KeptActivations(const KeptActivations&) = delete;
  KeptActivations& operator=(const KeptActivations&) = delete;

 private:
  bool outer_;
};

using Recipe = std::function<at::Tensor(const torch::autograd::variable_list& ingredients)>;

/// Attaches a recipe to this very tensor; aliases do not inherit it. `recipe` must return the same bits on
/// every call and hold no tensor itself.
void set_recipe(const at::Tensor& tensor, torch::autograd::variable_list ingredients, Recipe recipe);

/// Gives `alias`, which has the values of `tensor`, the same recipe, if there is one.
void share_recipe(const at::Tensor& alias, const at::Tensor& tensor);

/// As ctx->save_for_backward(others), and `x` or, where it has one, its recipe behind them.
void save_with_input(torch::autograd::AutogradContext* ctx, torch::autograd::variable_list others,
                     const at::Tensor& x);

/// `x` again. `saved` is ctx->get_saved_variables(), `num_others` the length of `others` above. Operations
/// that saved the same tensor share one computation: the first of them makes it, the last one frees it.
at::Tensor restore_input(torch::autograd::AutogradContext* ctx, const torch::autograd::variable_list& saved,
                         size_t num_others);

}  // namespace phalanx::ops
