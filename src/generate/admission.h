#pragma once
#include <cstdint>
#include <optional>
#include <vector>

namespace phalanx::generate {

/// What one request takes of a cache that is cut in pages.
struct RequestSize {
  int64_t prompt_tokens = 0;
  int64_t last_tokens = 0;  ///< prompt and the longest completion
  int64_t num_samples = 1;
};

/// Who may be at work: numbers alone. Requests are served in their order. Pages are set aside for the longest
/// completion when a sample comes in, so that whoever is at work can always finish; the prompt's pages stay
/// set aside until the last sample of its request is done, because all of them share them.
class Admission {
 public:
  Admission(int64_t max_sequences, int64_t max_pages, int64_t page_tokens)
      : free_sequences_(max_sequences), free_pages_(max_pages), page_tokens_(page_tokens) {}

  /// Pages that one sample of a request needs, alone in the cache.
  int64_t pages_alone(const RequestSize& size) const { return prompt_pages(size) + sample_pages(size); }
  void add(const RequestSize& size) { requests_.push_back({size, 0, 0}); }

  /// The next sample that may come in, as the place of its request; none while there is no room for it.
  std::optional<int64_t> next();
  /// A sample of this request has ended.
  void release(int64_t request);

 private:
  struct Progress {
    RequestSize size;
    int64_t admitted = 0, ended = 0;
  };
  int64_t prompt_pages(const RequestSize& size) const {
    return (size.prompt_tokens + page_tokens_ - 1) / page_tokens_;
  }
  // All but the whole pages of the prompt; a page that prompt and completion share is copied.
  int64_t sample_pages(const RequestSize& size) const {
    return (size.last_tokens + page_tokens_ - 1) / page_tokens_ - size.prompt_tokens / page_tokens_;
  }

  int64_t free_sequences_, free_pages_, page_tokens_;
  std::vector<Progress> requests_;
  size_t first_waiting_ = 0;
};

}  // namespace phalanx::generate
