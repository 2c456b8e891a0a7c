#include "data/bpe_symbols.h"

#include <algorithm>
#include <functional>

namespace phalanx::data {

void BpeSymbols::merge(const MergeTable& merges) {
  heap_.clear();
  const auto count = static_cast<uint32_t>(symbols_.size());
  for (uint32_t at = 0; at < count; ++at) look(merges, at);
  std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
  const auto update = [&](uint32_t at) {
    if (look(merges, at)) std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  };
  while (!heap_.empty()) {
    const uint64_t top = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    heap_.pop_back();
    const auto at = static_cast<uint32_t>(top);
    Symbol& symbol = symbols_[at];
    if (symbol.rank != top >> 32) continue;  // one of the two has merged with another since
    Symbol& right = symbols_[symbol.next];
    symbol.token = symbol.result;
    symbol.length += right.length;
    right.rank = kNoRank;
    symbol.next = right.next;
    if (right.next < count) symbols_[right.next].previous = at;
    update(at);
    if (symbol.previous < count) update(symbol.previous);
  }
}

/// Finds the merge of a symbol with the next one and queues it; false: there is none.
bool BpeSymbols::look(const MergeTable& merges, uint32_t at) {
  Symbol& symbol = symbols_[at];
  const bool is_last = symbol.next >= symbols_.size();
  const auto* found = is_last ? nullptr : merges.find(symbol.token, symbols_[symbol.next].token);
  symbol.rank = found ? found->rank : kNoRank;
  symbol.result = found ? found->result : -1;
  if (found) heap_.push_back(static_cast<uint64_t>(symbol.rank) << 32 | at);
  return found != nullptr;
}

}  // namespace phalanx::data
