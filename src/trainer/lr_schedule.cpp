#include "trainer/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

#include "core/error.h"

namespace phalanx::trainer {
namespace {

struct Point {
  double peak, min;
  int64_t step, warmup, max_steps, decay;  // step >= warmup
  double progress() const {
    return std::min(1.0, static_cast<double>(step - warmup) /
                             static_cast<double>(std::max<int64_t>(1, max_steps - warmup)));
  }
};

double constant(const Point& p) {
  return p.peak;
}
double linear(const Point& p) {
  return p.min + (p.peak - p.min) * (1.0 - p.progress());
}
double cosine(const Point& p) {
  return p.min + (p.peak - p.min) * 0.5 * (1.0 + std::cos(std::numbers::pi * p.progress()));
}
double warmup_stable_decay(const Point& p) {
  const int64_t left = p.max_steps - p.step;
  if (left >= p.decay) return p.peak;
  return p.min +
         (p.peak - p.min) * static_cast<double>(std::max<int64_t>(0, left)) / static_cast<double>(p.decay);
}

using Curve = double (*)(const Point&);
const std::map<std::string, Curve> kCurves = {
    {"constant", constant}, {"linear", linear}, {"cosine", cosine}, {"wsd", warmup_stable_decay}};

}  // namespace

double learning_rate(const ScheduleOptions& options, double peak, int64_t step, int64_t max_steps) {
  const auto curve = kCurves.find(options.name);
  if (curve == kCurves.end()) {
    core::fail(core::ExitCode::kBadConfig, "schedule.name is {}; known are constant, linear, cosine, wsd",
               options.name);
  }
  if (step < options.warmup_steps)
    return peak * static_cast<double>(step) / static_cast<double>(options.warmup_steps);
  return curve->second(
      {peak, options.min_learning_rate, step, options.warmup_steps, max_steps, options.decay_steps});
}

}  // namespace phalanx::trainer
