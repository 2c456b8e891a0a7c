#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"

namespace phalanx::generate {

/// Watches the text of one sequence for strings that end it, across the borders of tokens. A string is seen
/// as soon as no later token can change its last character.
class StopMatcher {
 public:
  /// Both must outlive it.
  StopMatcher(const std::vector<std::string>& strings, const data::Tokenizer& tokenizer)
      : strings_(&strings), decoder_(tokenizer) {}
  /// Whether the text now contains one of the strings.
  bool push(data::TokenId id);

 private:
  const std::vector<std::string>* strings_;
  data::StreamDecoder decoder_;
  std::string tail_;  // the last bytes that a string may begin in
};

/// The text before the first of the strings.
std::string_view before_stop_string(std::string_view text, const std::vector<std::string>& strings);

}  // namespace phalanx::generate
