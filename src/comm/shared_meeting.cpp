#include "comm/shared_meeting.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>
#include <thread>

namespace phalanx::comm {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::microseconds kSpinTime{20};
constexpr long kLookAround_ns = 20'000'000;  // how often a sleeper asks whether a rank has failed
constexpr int kPausesPerClock = 32;

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t) &&
              std::atomic<uint32_t>::is_always_lock_free);

/// Sleeps while `word` is `value`, at most kLookAround_ns.
void sleep_on(std::atomic<uint32_t>& word, uint32_t value) {
  const timespec limit{0, kLookAround_ns};
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, value, &limit, nullptr, 0);
}

void wake_all(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

bool has_come(uint32_t arrivals, uint32_t wanted) {
  return static_cast<int32_t>(arrivals - wanted) >= 0;
}

}  // namespace

SharedMeeting::SharedMeeting(const MpiGroup& group, Words* words)
    : group_(group),
      words_(words),
      // With more ranks than cores the one that is waited for needs the core.
      spin_(group.size <= static_cast<int>(std::thread::hardware_concurrency())
                ? kSpinTime
                : std::chrono::microseconds(0)) {}

void SharedMeeting::meet(const char* what) {
  Words& own = words_[group_.rank];
  // seq_cst on both words: either we see the sleeper, or the sleeper sees our arrival before it sleeps.
  own.arrivals.store(++arrivals_);
  if (own.sleepers.load() > 0) wake_all(own.arrivals);
  for (int peer = 0; peer < group_.size; ++peer) {
    if (peer != group_.rank) wait_for(peer, what);
  }
}

void SharedMeeting::wait_for(int peer, const char* what) {
  Words& words = words_[peer];
  if (has_come(words.arrivals.load(std::memory_order_acquire), arrivals_)) return;
  const auto start = Clock::now();
  while (Clock::now() - start < spin_) {
    for (int i = 0; i < kPausesPerClock; ++i) {
      if (has_come(words.arrivals.load(std::memory_order_acquire), arrivals_)) return;
      _mm_pause();
    }
  }
  words.sleepers.fetch_add(1);
  struct Awake {
    std::atomic<uint32_t>& sleepers;
    ~Awake() { sleepers.fetch_sub(1); }
  } awake{words.sleepers};
  while (true) {
    const uint32_t seen = words.arrivals.load();
    if (has_come(seen, arrivals_)) return;
    sleep_on(words.arrivals, seen);
    if (has_come(words.arrivals.load(), arrivals_)) return;
    if (Clock::now() - start < std::chrono::nanoseconds(kLookAround_ns)) continue;
    group_.control->check();
    check_patience(group_, what, start, peer);
  }
}

}  // namespace phalanx::comm
