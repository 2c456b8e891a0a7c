#include "data/bpe_merges.h"

#include <algorithm>
#include <numeric>

namespace phalanx::data {

namespace {

constexpr size_t kPairsPerBucket = 4;
constexpr uint32_t kMaxPilot = 65535;

std::vector<MergeTable::Entry> last_of_each_pair(const std::vector<Merge>& merges) {
  std::vector<MergeTable::Entry> entries;
  entries.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    entries.push_back({merges[i].left, merges[i].right, merges[i].rank, merges[i].result});
  }
  const auto key = [](const MergeTable::Entry& e) { return std::tuple(e.left, e.right, ~e.rank); };
  std::sort(entries.begin(), entries.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  const auto same = [](const auto& a, const auto& b) { return a.left == b.left && a.right == b.right; };
  entries.erase(std::unique(entries.begin(), entries.end(), same), entries.end());
  return entries;
}

}  // namespace

MergeTable::MergeTable(const std::vector<Merge>& merges) {
  const std::vector<Entry> unique = last_of_each_pair(merges);
  size_t num_slots = unique.size() + unique.size() / 4 + 1;
  while (!place(unique, num_slots)) num_slots += num_slots / 8 + 1;
}

// Full buckets first: each takes the first pilot under which all of its pairs fall into free slots.
bool MergeTable::place(const std::vector<Entry>& unique, size_t num_slots) {
  pilots_.assign(unique.size() / kPairsPerBucket + 1, 0);
  entries_.assign(num_slots, {});
  std::vector<std::vector<uint32_t>> buckets(pilots_.size());
  for (uint32_t i = 0; i < unique.size(); ++i)
    buckets[bucket(hash_of(unique[i].left, unique[i].right))].push_back(i);
  std::vector<uint32_t> order(buckets.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return buckets[a].size() > buckets[b].size(); });
  for (const uint32_t b : order) {
    uint32_t pilot = 0;
    for (; pilot <= kMaxPilot; ++pilot) {
      size_t placed = 0;
      for (; placed < buckets[b].size(); ++placed) {
        const Entry& entry = unique[buckets[b][placed]];
        Entry& target = entries_[slot(hash_of(entry.left, entry.right), static_cast<uint16_t>(pilot))];
        if (target.left >= 0) break;
        target = entry;
      }
      if (placed == buckets[b].size()) break;
      while (placed-- > 0) {
        const Entry& entry = unique[buckets[b][placed]];
        entries_[slot(hash_of(entry.left, entry.right), static_cast<uint16_t>(pilot))] = {};
      }
    }
    if (pilot > kMaxPilot) return false;
    pilots_[b] = static_cast<uint16_t>(pilot);
  }
  return true;
}

}  // namespace phalanx::data
