#pragma once
#include <string>

#include "core/error.h"

namespace phalanx::trainer {

/// What a step needs is not to be had for now: an endpoint is down. Thrown by Method::load() on every rank
/// alike, before anything has changed; the same call may be made again.
class Postponed : public core::Error {
 public:
  /// @param patience_s  how long to go on asking.
  Postponed(const std::string& reason, double patience_s)
      : core::Error(core::ExitCode::kStopped, reason), patience_s_(patience_s) {}
  double patience_s() const { return patience_s_; }

 private:
  double patience_s_;
};

}  // namespace phalanx::trainer
