#pragma once
#include <cstdint>

#include "trainer/options.h"

namespace phalanx::trainer {

/// Learning rate of step `step` (from 0) out of `max_steps`, peak `peak`; a pure function, so there is no
/// state to save.
///
///     warm-up       peak * step / warmup_steps                                    for step < warmup_steps
///     (starts at 0) constant      peak linear        min + (peak - min) (1 - t),      t = (step - warmup) /
///     max(1, max_steps - warmup) cosine        min + (peak - min) (1 + cos(pi t)) / 2 wsd           peak,
///     then linear to min over the last decay_steps (warmup-stable-decay, Hu et al. 2024)
///
/// Equal to transformers' get_*_schedule for min_learning_rate = 0. @throws core::Error naming the known
/// ones.
double learning_rate(const ScheduleOptions& options, double peak, int64_t step, int64_t max_steps);

}  // namespace phalanx::trainer
