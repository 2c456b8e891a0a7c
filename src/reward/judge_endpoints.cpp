#include "reward/judge_endpoints.h"

#include <utility>

namespace phalanx::reward {
namespace {

constexpr int kFailuresBeforeRest = 3;

}  // namespace

JudgeEndpoints::JudgeEndpoints(std::vector<serve::Url> urls, double rest_s) : rest_(rest_s) {
  for (serve::Url& url : urls) endpoints_.push_back({.url = std::move(url)});
}

size_t JudgeEndpoints::choose() {
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  size_t longest = 0;
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    const size_t candidate = (next_ + i) % endpoints_.size();
    if (endpoints_[candidate].rests_until <= now) {
      next_ = candidate + 1;
      return candidate;
    }
    if (endpoints_[candidate].rests_until < endpoints_[longest].rests_until) longest = candidate;
  }
  return longest;
}

void JudgeEndpoints::report(size_t endpoint, bool is_well) {
  const std::lock_guard lock(mutex_);
  Endpoint& it = endpoints_[endpoint];
  it.failures = is_well ? 0 : it.failures + 1;
  if (is_well) it.rests_until = {};
  if (it.failures >= kFailuresBeforeRest) {
    it.rests_until = std::chrono::steady_clock::now() +
                     std::chrono::duration_cast<std::chrono::steady_clock::duration>(rest_);
  }
}

}  // namespace phalanx::reward
