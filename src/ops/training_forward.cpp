#include "ops/training_forward.h"

#include <utility>

namespace phalanx::ops {
namespace {

thread_local bool active = false;

}  // namespace

TrainingForward::TrainingForward() : outer_(std::exchange(active, true)) {}
TrainingForward::~TrainingForward() {
  active = outer_;
}
bool TrainingForward::is_active() {
  return active;
}

}  // namespace phalanx::ops
