#pragma once
#include <chrono>
#include <cstddef>
#include <mutex>
#include <vector>

#include "serve/http_exchange.h"

namespace phalanx::reward {

/// Shares requests among servers that say the same, and leaves one that fails three times in a row alone for
/// a while. Safe to use from several threads.
class JudgeEndpoints {
 public:
  JudgeEndpoints(std::vector<serve::Url> urls, double rest_s);

  /// The next one in turn that is not resting; where all are, the one that has rested longest.
  size_t choose();
  const serve::Url& url(size_t endpoint) const { return endpoints_[endpoint].url; }
  void report(size_t endpoint, bool is_well);

 private:
  struct Endpoint {
    serve::Url url;
    int failures = 0;  // in a row
    std::chrono::steady_clock::time_point rests_until = {};
  };
  std::mutex mutex_;
  std::vector<Endpoint> endpoints_;
  size_t next_ = 0;
  std::chrono::duration<double> rest_;
};

}  // namespace phalanx::reward
