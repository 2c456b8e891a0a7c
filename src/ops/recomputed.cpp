#include "ops/recomputed.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <utility>

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kKey = "recipe";

// What the operations that save one tensor have in common.
struct Shared : torch::CustomClassHolder {
  explicit Shared(Recipe r) : recipe(std::move(r)) {}
  Recipe recipe;
  at::Tensor made;
  int64_t expected = 0, served = 0;

  at::Tensor serve(const variable_list& ingredients) {
    if (!made.defined()) {
      const at::NoGradGuard no_grad;
      made = recipe(ingredients);
    }
    const at::Tensor result = made;
    if (++served >= expected) {
      served = 0;
      made.reset();
    }
    return result;
  }
};

struct RecipeMeta : c10::BackendMeta {
  c10::intrusive_ptr<c10::BackendMeta> clone(const c10::intrusive_ptr<c10::BackendMeta>&) const override {
    return nullptr;  // an alias is another tensor: it has no recipe
  }
  c10::intrusive_ptr<Shared> shared;
  variable_list ingredients;
};

thread_local bool keeps_activations = false;

}  // namespace

KeptActivations::KeptActivations() : outer_(std::exchange(keeps_activations, true)) {}
KeptActivations::~KeptActivations() {
  keeps_activations = outer_;
}

void set_recipe(const at::Tensor& tensor, variable_list ingredients, Recipe recipe) {
  if (keeps_activations) return;
  auto meta = c10::make_intrusive<RecipeMeta>();
  meta->shared = c10::make_intrusive<Shared>(std::move(recipe));
  meta->ingredients = std::move(ingredients);
  tensor.unsafeGetTensorImpl()->set_backend_meta(std::move(meta));
}

void share_recipe(const at::Tensor& alias, const at::Tensor& tensor) {
  auto* meta = dynamic_cast<RecipeMeta*>(tensor.unsafeGetTensorImpl()->get_backend_meta());
  if (!meta) return;
  auto shared = c10::make_intrusive<RecipeMeta>();
  shared->shared = meta->shared;
  shared->ingredients = meta->ingredients;
  alias.unsafeGetTensorImpl()->set_backend_meta(std::move(shared));
}

void save_with_input(AutogradContext* ctx, variable_list others, const at::Tensor& x) {
  auto* meta = dynamic_cast<RecipeMeta*>(x.unsafeGetTensorImpl()->get_backend_meta());
  if (meta) {
    ++meta->shared->expected;
    ctx->saved_data[kKey] = c10::IValue::make_capsule(meta->shared);
    others.insert(others.end(), meta->ingredients.begin(), meta->ingredients.end());
  } else {
    others.push_back(x);
  }
  ctx->save_for_backward(std::move(others));
}

at::Tensor restore_input(AutogradContext* ctx, const variable_list& saved, size_t num_others) {
  const auto found = ctx->saved_data.find(kKey);
  if (found == ctx->saved_data.end()) return saved[num_others];
  const variable_list ingredients(saved.begin() + static_cast<std::ptrdiff_t>(num_others), saved.end());
  return c10::static_intrusive_pointer_cast<Shared>(found->second.toCapsule())->serve(ingredients);
}

}  // namespace phalanx::ops
