#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace phalanx::data {

/// A compiled pattern (PCRE2 with JIT, UTF and UCP). Safe to share between threads.
class Regex {
 public:
  /// @param pattern  in PCRE2's dialect (see translate_pattern).
  /// @throws TokenizerError kRegex with PCRE2's message and place.
  Regex(const std::string& pattern, std::string source);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// Calls found(begin, end) for each match in text[from, to), in order, as Oniguruma's find_iter does: an
  /// empty match that touches the match before it is left out. Look-around does not see beyond the two ends.
  /// Offsets are those of `text`.
  /// @throws TokenizerError kRegex when one search takes more than 5 million steps.
  template <typename Found>
  void for_each_match(std::string_view text, size_t from, size_t to, Found&& found) const {
    const std::string_view subject = text.substr(from, to - from);
    size_t start = 0;
    size_t last_end = subject.size() + 1;
    size_t begin = 0;
    size_t end = 0;
    while (start <= subject.size() && search(subject, start, begin, end)) {
      if (begin == end && end == last_end) {
        start = after_character(subject, start);
        continue;
      }
      found(from + begin, from + end);
      start = last_end = end;
    }
  }

 private:
  struct Compiled;
  bool search(std::string_view subject, size_t start, size_t& begin, size_t& end) const;
  static size_t after_character(std::string_view subject, size_t at);

  std::unique_ptr<Compiled> compiled_;
};

}  // namespace phalanx::data
