#include "generate/stop_strings.h"

#include <algorithm>

namespace phalanx::generate {

bool StopMatcher::push(data::TokenId id) {
  tail_ += decoder_.push(id);
  size_t longest = 1;
  for (const std::string& string : *strings_) {
    if (tail_.find(string) != std::string::npos) return true;
    longest = std::max(longest, string.size());
  }
  if (tail_.size() >= longest) tail_.erase(0, tail_.size() - (longest - 1));
  return false;
}

std::string_view before_stop_string(std::string_view text, const std::vector<std::string>& strings) {
  size_t end = text.size();
  for (const std::string& string : strings) end = std::min(end, text.find(string));
  return text.substr(0, end);
}

}  // namespace phalanx::generate
