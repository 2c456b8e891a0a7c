#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx::data {

/// SentencePiece's precompiled_charsmap: u32 size of a double-array trie (Darts-clone), the trie, and the
/// NUL-terminated replacements that its values point to. Safe on any bytes.
class Charsmap {
 public:
  struct Match {
    size_t length;  ///< bytes of the text that are replaced
    std::string_view replacement;
  };

  /// @throws TokenizerError kSchema for bytes that cannot be such a map. Empty bytes: a map without entries.
  Charsmap(std::string bytes, const std::string& source);
  Charsmap(const Charsmap&) = delete;
  Charsmap& operator=(const Charsmap&) = delete;

  bool empty() const { return units_.empty(); }
  /// The shortest entry that `text` begins with, or the longest.
  std::optional<Match> shortest(std::string_view text) const { return find(text, /*longest=*/false); }
  std::optional<Match> longest(std::string_view text) const { return find(text, /*longest=*/true); }

 private:
  std::optional<Match> find(std::string_view text, bool longest) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace phalanx::data
