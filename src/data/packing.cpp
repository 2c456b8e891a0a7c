#include "data/packing.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace phalanx::data {
namespace {

struct OpenRow {
  uint32_t room;
  size_t row;
  bool operator<(const OpenRow& other) const {
    return room != other.room ? room < other.room : row < other.row;
  }
};

void pack_window(const std::vector<Segment>& samples, size_t begin, size_t end, uint32_t capacity,
                 Packing& packing) {
  std::vector<size_t> longest_first(end - begin);
  std::iota(longest_first.begin(), longest_first.end(), begin);
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [&](size_t a, size_t b) { return samples[a].length > samples[b].length; });
  std::vector<std::vector<size_t>> rows;
  std::set<OpenRow> open;
  for (const size_t sample : longest_first) {
    const uint32_t length = samples[sample].length;
    OpenRow best{capacity, rows.size()};
    const auto fit = open.lower_bound(OpenRow{length, 0});
    if (fit == open.end()) {
      rows.emplace_back();
    } else {
      best = *fit;
      open.erase(fit);
    }
    rows[best.row].push_back(sample);
    if (best.room > length) open.insert({best.room - length, best.row});
  }
  for (const auto& row : rows) {
    for (const size_t sample : row) packing.segments.push_back(samples[sample]);
    packing.row_begin.push_back(packing.segments.size());
  }
}

}  // namespace

Packing pack_records(const std::vector<Segment>& samples) {
  Packing packing{samples, {}};
  for (size_t i = 0; i < samples.size(); ++i) {
    if (i == 0 || samples[i].record_id != samples[i - 1].record_id) packing.row_begin.push_back(i);
  }
  packing.row_begin.push_back(samples.size());
  return packing;
}

Packing pack_single(const std::vector<Segment>& samples) {
  Packing packing{samples, std::vector<uint64_t>(samples.size() + 1)};
  std::iota(packing.row_begin.begin(), packing.row_begin.end(), uint64_t{0});
  return packing;
}

std::vector<Segment> split_samples(const std::vector<Segment>& samples, uint32_t capacity) {
  std::vector<Segment> pieces;
  for (Segment rest : samples) {
    while (rest.length > 0) {
      Segment piece = rest;
      piece.length = std::min(rest.length, capacity);
      pieces.push_back(piece);
      rest.begin += piece.length;
      rest.length -= piece.length;
    }
  }
  return pieces;
}

Packing pack_best_fit(const std::vector<Segment>& samples, uint32_t capacity, size_t window) {
  Packing packing{{}, {0}};
  for (size_t begin = 0; begin < samples.size(); begin += window) {
    pack_window(samples, begin, std::min(samples.size(), begin + window), capacity, packing);
  }
  return packing;
}

Packing pack_split(const std::vector<Segment>& documents, uint32_t capacity) {
  Packing packing{{}, {0}};
  uint32_t room = capacity;
  for (Segment rest : documents) {
    while (rest.length > 0) {
      Segment piece = rest;
      piece.length = std::min(rest.length, room);
      packing.segments.push_back(piece);
      rest.begin += piece.length;
      rest.length -= piece.length;
      room -= piece.length;
      if (room == 0) {
        packing.row_begin.push_back(packing.segments.size());
        room = capacity;
      }
    }
  }
  if (packing.row_begin.back() != packing.segments.size())
    packing.row_begin.push_back(packing.segments.size());
  return packing;
}

}  // namespace phalanx::data
