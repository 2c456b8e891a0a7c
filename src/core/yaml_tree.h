#pragma once
#include <compare>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx::core {

/// Where something is written. Lines and columns count from 1; `set` is the index of a --set, -1 for the
/// file.
struct Position {
  int set = -1;
  int line = 1;
  int column = 1;
  auto operator<=>(const Position&) const = default;
};

struct Problem {
  Position position;
  std::string message;
};

struct YamlEntry;

/// A YAML document as it is written: nothing resolved, duplicate keys kept.
struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap, kInvalid };  ///< kInvalid: already reported as a Problem

  Kind kind = Kind::kNull;
  bool quoted = false;  ///< of a scalar
  std::string text;     ///< of a scalar
  Position position;
  std::vector<YamlNode> items;     ///< of a sequence
  std::vector<YamlEntry> entries;  ///< of a map, in file order

  const YamlEntry* find(std::string_view key) const;  ///< the first entry of that name, or nullptr
};

struct YamlEntry {
  std::string key;
  Position position;
  YamlNode value;
};

struct YamlLimits {
  static constexpr size_t kMaxBytes = 10 << 20;
  static constexpr size_t kMaxLineBytes = 256 << 10;
  static constexpr int kMaxDepth = 64;
  static constexpr int kMaxNodes = 10'000;
};

/// Strict YAML 1.2: UTF-8 without BOM, NUL and control characters, one document, no directive, anchor, alias,
/// merge key or tag, no duplicate key, spaces for indentation, within YamlLimits. Every breach is added to
/// `problems`; after one that cannot be passed over the returned node is kInvalid. An empty document is
/// kNull.
YamlNode parse_yaml(std::string_view text, int set, std::vector<Problem>& problems);

}  // namespace phalanx::core
