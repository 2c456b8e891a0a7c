#pragma once
#include <exception>
#include <functional>

namespace phalanx::core {

/// Asked inside of long waits: shall the run save and end? Once true it stays true. Safe to call from several
/// threads. Empty: never.
using StopRequest = std::function<bool()>;
inline bool is_requested(const StopRequest& stop) {
  return stop && stop();
}

/// How long a wait may last before it asks again.
inline constexpr double kStopPollSeconds = 0.05;

/// Leaves a long wait that was given up because of a StopRequest. Nothing has failed: what the wait was for
/// is done again when the run goes on.
class Stopped : public std::exception {
 public:
  const char* what() const noexcept override { return "the run was asked to stop"; }
};

}  // namespace phalanx::core
