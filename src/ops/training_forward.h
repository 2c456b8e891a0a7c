#pragma once

namespace phalanx::ops {

/// While one lives, forwards of this thread without autograd take the same kernels as those with it: what
/// they make will be made again in a backward and must have the same bits. (Decoding has kernels of its own
/// for a few rows.)
class TrainingForward {
 public:
  TrainingForward();
  ~TrainingForward();
  TrainingForward(const TrainingForward&) = delete;
  TrainingForward& operator=(const TrainingForward&) = delete;
  static bool is_active();

 private:
  bool outer_;
};

}  // namespace phalanx::ops
