#include "trainer/outage.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "core/log.h"

namespace phalanx::trainer {
namespace {

constexpr double kMaxPauseS = 60, kPollS = 0.2;

}  // namespace

bool Outage::wait(const Postponed& postponed) {
  const auto elapsed_s = [this] { return std::chrono::duration<double>(Clock::now() - start_).count(); };
  const double now_s = elapsed_s(), until_s = now_s + std::min(pause_s_, postponed.patience_s() - now_s);
  const bool is_main = group_.rank() == 0;
  const bool gives_up =
      group_.all_reduce_scalar(int64_t{is_main && now_s >= postponed.patience_s()}, comm::ReduceOp::kMax) > 0;
  if (is_main)
    core::log_warning("{}; {}", postponed.what(),
                      gives_up ? fmt::format("given up after {:.0f} s", now_s)
                               : fmt::format("asking again in {:.1f} s", until_s - now_s));
  if (gives_up) return false;
  pause_s_ = std::min(2 * pause_s_, kMaxPauseS);
  enum Decision : int64_t { kWait, kTry, kStop };
  while (true) {
    int64_t decision = is_main && elapsed_s() >= until_s ? kTry : kWait;
    if (stop_requested_()) decision = kStop;
    decision = group_.all_reduce_scalar(decision, comm::ReduceOp::kMax);
    if (decision != kWait) return decision == kTry;
    std::this_thread::sleep_for(std::chrono::duration<double>(kPollS));
  }
}

}  // namespace phalanx::trainer
