#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace phalanx::reward {

/// A regular expression of the user (PCRE2: UTF-8, Unicode classes, `.` also matches a line break) on text
/// that the model wrote. A match that takes more than a million steps is given up. Safe to share between
/// threads.
class Pattern {
 public:
  enum class Outcome { kNo, kYes, kTooCostly };

  /// @param num_groups  how many groups it must have at least. @param key  for messages.
  /// @throws core::Error (78): PCRE2's message and place, or too few groups.
  Pattern(const std::string& pattern, int num_groups, std::string_view key);
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  /// Is it all of the text?
  Outcome match_whole(std::string_view text) const;
  /// The first group of the last match into `group`; a group that took no part is "".
  Outcome find_last(std::string_view text, std::string_view* group) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace phalanx::reward
