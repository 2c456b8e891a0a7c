#include "checkpoint/box.h"

#include <fmt/format.h>

#include <algorithm>

namespace phalanx::checkpoint {

namespace {

/// Row-major position of the element at `index` (global coordinates) in an array laid out as `box`.
int64_t place_in(const Box& box, const std::vector<int64_t>& index) {
  int64_t place = 0;
  for (size_t d = 0; d < index.size(); ++d) place = place * box.shape[d] + index[d] - box.offset[d];
  return place;
}

/// The number of leading dimensions that a run does not span: it takes all trailing dimensions that `region`
/// fills in both arrays, and of one more a part.
size_t outer_dimensions(const Box& region, const Box& from, const Box& to) {
  size_t d = region.shape.size();
  while (d > 0 && region.shape[d - 1] == from.shape[d - 1] && region.shape[d - 1] == to.shape[d - 1]) --d;
  return d > 0 ? d - 1 : 0;
}

/// Counts `index` one up over the first `dimensions` dimensions of `region`; false after the last.
bool advance(std::vector<int64_t>& index, const Box& region, size_t dimensions) {
  for (size_t d = dimensions; d-- > 0;) {
    if (++index[d] < region.offset[d] + region.shape[d]) return true;
    index[d] = region.offset[d];
  }
  return false;
}

}  // namespace

int64_t Box::num_elements() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

Box whole(const std::vector<int64_t>& shape) {
  return {std::vector<int64_t>(shape.size(), 0), shape};
}

bool is_within(const Box& box, const std::vector<int64_t>& shape) {
  if (box.offset.size() != shape.size() || box.shape.size() != shape.size()) return false;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (box.offset[d] < 0 || box.shape[d] < 0 || box.offset[d] > shape[d]) return false;
    if (box.shape[d] > shape[d] - box.offset[d]) return false;
  }
  return true;
}

bool contains(const Box& outer, const Box& inner) {
  for (size_t d = 0; d < outer.shape.size(); ++d) {
    if (inner.offset[d] < outer.offset[d]) return false;
    if (inner.offset[d] + inner.shape[d] > outer.offset[d] + outer.shape[d]) return false;
  }
  return true;
}

std::optional<Box> intersection(const Box& a, const Box& b) {
  Box common = a;
  for (size_t d = 0; d < a.shape.size(); ++d) {
    const int64_t begin = std::max(a.offset[d], b.offset[d]);
    const int64_t end = std::min(a.offset[d] + a.shape[d], b.offset[d] + b.shape[d]);
    if (begin >= end) return std::nullopt;
    common.offset[d] = begin;
    common.shape[d] = end - begin;
  }
  return common;
}

std::string to_string(const Box& box) {
  std::vector<std::string> ranges;
  for (size_t d = 0; d < box.shape.size(); ++d) {
    ranges.push_back(fmt::format("{}:{}", box.offset[d], box.offset[d] + box.shape[d]));
  }
  return fmt::format("[{}]", fmt::join(ranges, ", "));
}

std::string why_no_partition(const std::vector<Box>& boxes, const std::vector<int64_t>& shape) {
  int64_t covered = 0;
  for (size_t i = 0; i < boxes.size(); ++i) {
    if (!is_within(boxes[i], shape))
      return fmt::format("slice {} is outside {}", to_string(boxes[i]), to_string(whole(shape)));
    covered += boxes[i].num_elements();
    for (size_t j = 0; j < i; ++j) {
      const auto common = intersection(boxes[i], boxes[j]);
      if (common) return fmt::format("slices {} and {} overlap", to_string(boxes[j]), to_string(boxes[i]));
    }
  }
  const int64_t expected = whole(shape).num_elements();
  if (covered != expected) return fmt::format("its slices hold {} of {} elements", covered, expected);
  return {};
}

void for_each_run(const Box& region, const Box& from, const Box& to,
                  const std::function<void(int64_t, int64_t, int64_t)>& visit) {
  const size_t outer = outer_dimensions(region, from, to);
  int64_t length = 1;
  for (size_t d = outer; d < region.shape.size(); ++d) length *= region.shape[d];
  std::vector<int64_t> index = region.offset;
  do {
    visit(place_in(from, index), place_in(to, index), length);
  } while (advance(index, region, outer));
}

std::optional<std::pair<int64_t, int64_t>> single_run(const Box& region, const Box& from, const Box& to) {
  for (size_t d = 0; d < outer_dimensions(region, from, to); ++d) {
    if (region.shape[d] != 1) return std::nullopt;
  }
  return std::pair(place_in(from, region.offset), place_in(to, region.offset));
}

std::vector<Box> boxes_of_run(const std::vector<int64_t>& shape, int64_t begin, int64_t count) {
  if (count == 0) return {};
  if (shape.empty()) return {Box{}};
  if (shape.size() == 1) return {Box{{begin}, {count}}};
  const std::vector<int64_t> inner(shape.begin() + 1, shape.end());
  const int64_t row_size = whole(inner).num_elements();
  std::vector<Box> boxes;
  const auto add_part = [&](int64_t row, int64_t from, int64_t size) {
    for (Box box : boxes_of_run(inner, from, size)) {
      box.offset.insert(box.offset.begin(), row);
      box.shape.insert(box.shape.begin(), 1);
      boxes.push_back(std::move(box));
    }
  };
  int64_t row = begin / row_size;
  if (const int64_t from = begin % row_size; from > 0) {
    const int64_t size = std::min(count, row_size - from);
    add_part(row++, from, size);
    count -= size;
  }
  if (const int64_t rows = count / row_size; rows > 0) {
    Box box = whole(shape);
    box.offset[0] = row;
    box.shape[0] = rows;
    boxes.push_back(std::move(box));
    row += rows;
    count -= rows * row_size;
  }
  if (count > 0) add_part(row, 0, count);
  return boxes;
}

}  // namespace phalanx::checkpoint
