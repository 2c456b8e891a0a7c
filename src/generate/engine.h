#pragma once
#include <chrono>
#include <deque>
#include <optional>
#include <vector>

#include "generate/admission.h"
#include "generate/generate.h"
#include "generate/stop_strings.h"

namespace phalanx::generate {

/// One call of generate(): prompts on their way into the cache, sequences at work, and those that wait.
class Engine {
 public:
  Engine(TokenModel& model, const std::vector<Request>& requests, const GenerateOptions& options,
         const TokenCallback& callback);
  std::vector<Completion> run(GenerateStats& stats);

 private:
  using Clock = std::chrono::steady_clock;

  /// A request of which not all samples have begun.
  struct Prefix {
    int64_t request, entry;
    int64_t num_cached = 0;          // tokens of the prompt
    std::vector<float> logits = {};  // behind the prompt, once it is in the cache
    int64_t num_admitted = 0, num_started = 0;
  };
  struct Sequence {
    int64_t request, completion, entry;
    SampleKey key;
    std::vector<int32_t> history;  // prompt and new tokens; the cache holds all but the last
    std::optional<StopMatcher> stop_strings;
    Clock::time_point first_token;
  };
  /// A sequence whose next token comes from a row of logits.
  struct Draw {
    Sequence* sequence;
    const float* logits;
    int32_t id = 0;
    double logprob = 0;
  };
  /// A forward in the making: rows in the order of the cache's entries.
  struct Work {
    std::vector<Prefix*> prefixes;     // by entry; null where there is none
    std::vector<Sequence*> sequences;  // by entry
  };

  bool has_work() const { return num_ended_ < static_cast<int64_t>(completions_.size()); }
  void let_in();
  void admit();
  bool start_samples();
  Sequence start(Prefix& prefix);
  void forward();
  void keep_company();
  void draw(std::vector<Draw>& draws) const;
  void take(const Draw& draw);
  const char* reason_to_end(Sequence& sequence, int32_t id, double logprob);
  void end(Sequence& sequence, const char* reason);
  int64_t take_entry();
  const std::vector<int32_t>& prompt(int64_t request) const {
    return *requests_[static_cast<size_t>(request)].prompt;
  }

  TokenModel& model_;
  const std::vector<Request>& requests_;
  const GenerateOptions& options_;
  const TokenCallback& callback_;
  SamplingOptions sampling_;               // for logits that logprob_temperature has divided
  std::vector<int64_t> first_completion_;  // of each request
  std::vector<Completion> completions_;
  Admission admission_;
  model::KvCache cache_;
  std::vector<int64_t> free_entries_;
  std::deque<Prefix> prefixes_;
  std::deque<Sequence> sequences_;
  int64_t num_ended_ = 0, num_forwards_ = 0;
  Clock::time_point start_ = Clock::now();
  double ttft_sum_s_ = 0, tpot_sum_s_ = 0;
  int64_t tpot_tokens_ = 0;
};

}  // namespace phalanx::generate
