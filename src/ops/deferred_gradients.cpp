#include "ops/deferred_gradients.h"

#include <c10/core/GradMode.h>

#include <utility>

namespace phalanx::ops {
namespace {

thread_local DeferredGradients* current = nullptr;

}  // namespace

void DeferredGradients::run() {
  const c10::AutoGradMode without_grad(false);
  for (const auto& product : std::exchange(products_, {})) product();
}

DeferredGradients::Scope::Scope(DeferredGradients& target) : outer_(std::exchange(current, &target)) {}

DeferredGradients::Scope::~Scope() {
  current = outer_;
}

bool defer_gradient(std::function<void()> product) {
  if (!current) return false;
  current->products_.push_back(std::move(product));
  return true;
}

}  // namespace phalanx::ops
