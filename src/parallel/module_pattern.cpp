#include "parallel/module_pattern.h"

#include <string_view>

namespace phalanx::parallel {
namespace {

bool match(std::string_view pattern, std::string_view path) {
  if (pattern.empty()) return path.empty();
  if (pattern.front() == '*') {
    const size_t dot = path.find('.');
    const size_t end = dot == std::string_view::npos ? path.size() : dot;
    return end > 0 && match(pattern.substr(1), path.substr(end));
  }
  if (pattern.front() == '{') {
    const size_t close = pattern.find('}');
    std::string_view words = pattern.substr(1, close - 1);
    while (true) {
      const size_t comma = words.find(',');
      const std::string_view word = words.substr(0, comma);
      if (path.starts_with(word) && match(pattern.substr(close + 1), path.substr(word.size()))) return true;
      if (comma == std::string_view::npos) return false;
      words.remove_prefix(comma + 1);
    }
  }
  return !path.empty() && path.front() == pattern.front() && match(pattern.substr(1), path.substr(1));
}

}  // namespace

bool matches(const std::string& pattern, const std::string& path) {
  return match(pattern, path);
}

}  // namespace phalanx::parallel
