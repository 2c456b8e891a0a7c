#pragma once
#include <memory>

#include "reward/reward.h"

namespace phalanx::reward {

/// What a program of the user says. For `samples_per_run` samples (1: no sample can see another's) it is
/// started once, in a Sandbox, `num_parallel` of them at a time. Its stdin has a line of JSON for each
/// sample,
///
///     {"id": "5f1c...", "prompt": text, "completion": text, "ground_truth": any, "fields": {...}}
///
/// and it must write one line for each, in any order, {"id": "5f1c...", "reward": number or null}, and end
/// with exit code 0. The id is random, so that code of an answer which the program runs cannot write such a
/// line for itself without reading what only the program has. Text that is no UTF-8 arrives with U+FFFD in
/// it.
///
/// Anything else (a timeout, a crash, no line, two lines, NaN, 1e999, too much output) leaves the samples of
/// that run without a score, with one warning per call that counts them.
/// @throws core::Error (78) from Sandbox.
std::unique_ptr<Reward> program(const TermOptions& options);

}  // namespace phalanx::reward
