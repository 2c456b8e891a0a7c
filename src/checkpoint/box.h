#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace phalanx::checkpoint {

/// A rectangular part of a tensor, in elements: [offset, offset + shape) in every dimension. No dimensions: a
/// scalar.
struct Box {
  std::vector<int64_t> offset;
  std::vector<int64_t> shape;

  int64_t num_elements() const;
  bool operator==(const Box&) const = default;
};

Box whole(const std::vector<int64_t>& shape);
bool is_within(const Box& box,
               const std::vector<int64_t>& shape);  ///< also false if the dimensions or signs are wrong
bool contains(const Box& outer, const Box& inner);
std::optional<Box> intersection(const Box& a, const Box& b);  ///< nothing if it has no element
std::string to_string(const Box& box);                        ///< "[0:16, 32:64]"

/// Why these boxes are not a partition of a tensor of this shape ("overlap at [0:1]", ...); empty if they are
/// one.
std::string why_no_partition(const std::vector<Box>& boxes, const std::vector<int64_t>& shape);

/// The elements of `region` as runs that are contiguous both in an array laid out as `from` and in one laid
/// out as `to` (row-major): calls visit(first element in from, first element in to, number of elements) in
/// increasing order.
void for_each_run(const Box& region, const Box& from, const Box& to,
                  const std::function<void(int64_t, int64_t, int64_t)>& visit);
/// Where that run begins in `from` and in `to`, if there is only one.
std::optional<std::pair<int64_t, int64_t>> single_run(const Box& region, const Box& from, const Box& to);

/// The elements [begin, begin + count) of a row-major array of this shape as boxes, in that order: a part of
/// a row, whole rows, a part of a row. Each is contiguous in the array.
std::vector<Box> boxes_of_run(const std::vector<int64_t>& shape, int64_t begin, int64_t count);

}  // namespace phalanx::checkpoint
