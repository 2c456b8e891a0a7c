#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace phalanx::data {

/// Finds the strings of a set that a text begins with.
class ByteTrie {
 public:
  ByteTrie() = default;
  /// @param entries  different strings that are not empty, each with its value (>= 0).
  explicit ByteTrie(std::vector<std::pair<std::string, int32_t>> entries) {
    std::sort(entries.begin(), entries.end());
    struct Work {
      size_t first, last, depth;  // entries[first, last) share their first `depth` bytes
      uint32_t node;
    };
    nodes_.push_back({});
    std::deque<Work> queue = {{0, entries.size(), 0, 0}};
    while (!queue.empty()) {
      auto [first, last, depth, node] = queue.front();
      queue.pop_front();
      if (first < last && entries[first].first.size() == depth) nodes_[node].value = entries[first++].second;
      nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
      while (first < last) {
        const auto byte = static_cast<uint8_t>(entries[first].first[depth]);
        size_t end = first;
        while (end < last && static_cast<uint8_t>(entries[end].first[depth]) == byte) ++end;
        queue.push_back({first, end, depth + 1, static_cast<uint32_t>(nodes_.size())});
        if (depth == 0) roots_[byte] = static_cast<uint32_t>(nodes_.size());
        nodes_.push_back({.byte = byte});
        ++nodes_[node].num_children;
        first = end;
      }
    }
  }

  bool empty() const { return nodes_.size() <= 1; }
  bool has_first_byte(char byte) const { return roots_[static_cast<uint8_t>(byte)] != 0; }

  /// Calls found(length, value) for each entry that `text` begins with, the shortest first.
  template <typename Found>
  void for_each_prefix(std::string_view text, Found&& found) const {
    if (text.empty()) return;
    uint32_t at = roots_[static_cast<uint8_t>(text.front())];
    for (size_t length = 1; at != 0; ++length) {
      const Node& node = nodes_[at];
      if (node.value >= 0) found(length, node.value);
      if (length == text.size()) return;
      at = child(node, static_cast<uint8_t>(text[length]));
    }
  }

 private:
  struct Node {
    uint32_t first_child = 0;  // children are neighbours, ordered by byte
    uint16_t num_children = 0;
    uint8_t byte = 0;
    int32_t value = -1;
  };

  uint32_t child(const Node& node, uint8_t byte) const {
    const Node* begin = nodes_.data() + node.first_child;
    const Node* const end = begin + node.num_children;
    const Node* found =
        std::lower_bound(begin, end, byte, [](const Node& n, uint8_t b) { return n.byte < b; });
    return found != end && found->byte == byte ? static_cast<uint32_t>(found - nodes_.data()) : 0;
  }

  std::vector<Node> nodes_;
  std::array<uint32_t, 256> roots_{};
};

}  // namespace phalanx::data
