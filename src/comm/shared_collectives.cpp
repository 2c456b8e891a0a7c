#include "comm/shared_collectives.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "comm/arguments.h"
#include "comm/reduce.h"

namespace phalanx::comm {

struct SharedCollectives::Board {
  Call call;
};

namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kDefaultHalf = int64_t{1} << 20;
constexpr int64_t kSmallBytes = 16 * 1024;  // up to here every rank adds everything: one meeting less
constexpr int64_t kAlign = 64;

int64_t round_up(int64_t value, int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

int64_t element_bytes(const Call& call) {
  return static_cast<int64_t>(c10::elementSize(call.dtype));
}

void copy(void* to, const void* from, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

// Layout: Words of all ranks | two boards of each rank | two rows of splits of each rank | staging, two
// halves of each rank.
int64_t boards_at(int size) {
  return round_up(size * sizeof(SharedMeeting::Words), kPage);
}
int64_t splits_at(int size, int64_t board_bytes) {
  return boards_at(size) + round_up(2 * size * board_bytes, kAlign);
}
int64_t staging_at(int size, int64_t board_bytes) {
  return round_up(splits_at(size, board_bytes) + 2 * size * size * static_cast<int64_t>(sizeof(int64_t)),
                  kPage);
}

}  // namespace

std::unique_ptr<SharedCollectives> SharedCollectives::make(const MpiGroup& group) {
  const int64_t wanted = group.options.staging_bytes > 0 ? group.options.staging_bytes : kDefaultHalf;
  const int64_t half_bytes = round_up(std::max<int64_t>(wanted, kAlign * group.size), kPage);
  const int64_t bytes = staging_at(group.size, sizeof(Board)) + 2 * half_bytes * group.size;
  auto segment = std::make_unique<SharedSegment>(group, bytes);
  if (!segment->mapped_by_all()) return nullptr;
  return std::unique_ptr<SharedCollectives>(new SharedCollectives(group, std::move(segment), half_bytes));
}

SharedCollectives::SharedCollectives(const MpiGroup& group, std::unique_ptr<SharedSegment> segment,
                                     int64_t half_bytes)
    : group_(group),
      segment_(std::move(segment)),
      half_bytes_(half_bytes),
      meeting_(group, reinterpret_cast<SharedMeeting::Words*>(segment_->data())) {}

SharedCollectives::Board& SharedCollectives::board(int rank, int half) const {
  return reinterpret_cast<Board*>(segment_->data() + boards_at(group_.size))[2 * rank + half];
}

int64_t* SharedCollectives::splits(int rank, int half) const {
  auto* const rows = reinterpret_cast<int64_t*>(segment_->data() + splits_at(group_.size, sizeof(Board)));
  return rows + (2 * rank + half) * group_.size;
}

char* SharedCollectives::staging(int rank) const {
  return segment_->data() + staging_at(group_.size, sizeof(Board)) + (2 * rank + half_) * half_bytes_;
}

void SharedCollectives::show(const Call& call) {
  // Two boards in turn, for the same reason as two halves: each collective has at least one meeting.
  board_half_ ^= 1;
  board(group_.rank, board_half_).call = call;
  calls_unread_ = true;
}

void SharedCollectives::meet(const Call& call) {
  meeting_.meet(name(call.kind));
  if (!calls_unread_) return;
  calls_unread_ = false;
  std::vector<Call> calls;
  for (int r = 0; r < group_.size; ++r) calls.push_back(board(r, board_half_).call);
  check_same(calls);
}

void SharedCollectives::all_reduce(const Call& call, void* data) {
  show(call);
  const int64_t width = element_bytes(call);
  if (call.numel * width <= std::min(kSmallBytes, half_bytes_)) return all_reduce_small(call, data);
  const int64_t slice_bytes = half_bytes_ / group_.size / kAlign * kAlign;
  const int64_t piece = slice_bytes / width * group_.size;
  for (int64_t begin = 0; begin < call.numel; begin += piece) {
    all_reduce_piece(call, static_cast<char*>(data) + begin * width, std::min(piece, call.numel - begin));
  }
}

void SharedCollectives::all_reduce_small(const Call& call, void* data) {
  copy(staging(group_.rank), data, call.numel * element_bytes(call));
  meet(call);
  std::vector<const void*> sources;
  for (int r = 0; r < group_.size; ++r) sources.push_back(staging(r));
  tree_reduce(data, nullptr, sources, call.numel, call.dtype, call.op);
  next_half();
}

/// A half holds one slice for each rank: to the others what they add, in the place of this rank the sum that
/// it makes.
void SharedCollectives::all_reduce_piece(const Call& call, char* data, int64_t numel) {
  const int64_t width = element_bytes(call);
  const int64_t slice_bytes = half_bytes_ / group_.size / kAlign * kAlign;
  const auto part = [&](int rank) { return even_part(numel, group_.size, rank); };
  const int self = group_.rank;

  for (int r = 0; r < group_.size; ++r) {
    if (r != self)
      copy(staging(self) + r * slice_bytes, data + part(r).begin * width, part(r).size() * width);
  }
  meet(call);
  char* const own = data + part(self).begin * width;
  std::vector<const void*> sources;
  for (int r = 0; r < group_.size; ++r) sources.push_back(r == self ? own : staging(r) + self * slice_bytes);
  tree_reduce(own, staging(self) + self * slice_bytes, sources, part(self).size(), call.dtype, call.op);
  meet(call);
  for (int r = 0; r < group_.size; ++r) {
    if (r != self) copy(data + part(r).begin * width, staging(r) + r * slice_bytes, part(r).size() * width);
  }
  next_half();
}

void SharedCollectives::reduce_scatter(const Call& call, void* output, const void* input) {
  show(call);
  const int64_t width = element_bytes(call);
  const int64_t slice_bytes = half_bytes_ / group_.size / kAlign * kAlign;
  const int64_t piece = slice_bytes / width;
  const auto* const in = static_cast<const char*>(input);
  const int self = group_.rank;
  int64_t begin = 0;
  do {  // an empty tensor has its meeting too
    const int64_t numel = std::min(piece, call.numel - begin);
    const auto part = [&](int rank) { return in + (rank * call.numel + begin) * width; };
    for (int r = 0; r < group_.size; ++r) {
      if (r != self) copy(staging(self) + r * slice_bytes, part(r), numel * width);
    }
    meet(call);
    std::vector<const void*> sources;
    for (int r = 0; r < group_.size; ++r)
      sources.push_back(r == self ? part(r) : staging(r) + self * slice_bytes);
    tree_reduce(static_cast<char*>(output) + begin * width, nullptr, sources, numel, call.dtype, call.op);
    next_half();
    begin += piece;
  } while (begin < call.numel);
}

void SharedCollectives::all_gather(const Call& call, void* output, const void* input) {
  show(call);
  const int64_t bytes = call.numel * element_bytes(call);
  auto* const out = static_cast<char*>(output);
  if (out + group_.rank * bytes != input) copy(out + group_.rank * bytes, input, bytes);
  int64_t begin = 0;
  do {
    const int64_t piece = std::min(half_bytes_, bytes - begin);
    copy(staging(group_.rank), static_cast<const char*>(input) + begin, piece);
    meet(call);
    for (int r = 0; r < group_.size; ++r) {
      if (r != group_.rank) copy(out + r * bytes + begin, staging(r), piece);
    }
    next_half();
    begin += half_bytes_;
  } while (begin < bytes);
}

void SharedCollectives::all_to_all(const Call& call, void* output, const void* input,
                                   const std::vector<int64_t>& output_splits,
                                   const std::vector<int64_t>& input_splits) {
  show(call);
  const int size = group_.size;
  const int self = group_.rank;
  std::copy(input_splits.begin(), input_splits.end(), splits(self, board_half_));
  meet(call);
  int64_t longest = 0;
  for (int from = 0; from < size; ++from) {
    const int64_t* const sent = splits(from, board_half_);
    longest = std::max(longest, *std::max_element(sent, sent + size));
  }
  for (int r = 0; r < size; ++r) check_split(r, self, splits(r, board_half_)[self], output_splits[r]);

  const int64_t width = element_bytes(call);
  const int64_t slice_bytes = half_bytes_ / size / kAlign * kAlign;
  const int64_t piece = slice_bytes / width;
  std::vector<int64_t> in_at(size), out_at(size);
  std::exclusive_scan(input_splits.begin(), input_splits.end(), in_at.begin(), int64_t{0});
  std::exclusive_scan(output_splits.begin(), output_splits.end(), out_at.begin(), int64_t{0});
  const auto* const in = static_cast<const char*>(input);
  auto* const out = static_cast<char*>(output);
  copy(out + out_at[self] * width, in + in_at[self] * width, input_splits[self] * width);
  for (int64_t begin = 0; begin < longest; begin += piece) {
    const auto rest = [&](int64_t split) { return std::clamp<int64_t>(split - begin, 0, piece) * width; };
    for (int r = 0; r < size; ++r) {
      if (r != self)
        copy(staging(self) + r * slice_bytes, in + (in_at[r] + begin) * width, rest(input_splits[r]));
    }
    meet(call);
    for (int r = 0; r < size; ++r) {
      if (r != self)
        copy(out + (out_at[r] + begin) * width, staging(r) + self * slice_bytes, rest(output_splits[r]));
    }
    next_half();
  }
}

void SharedCollectives::broadcast(const Call& call, void* data) {
  show(call);
  const int64_t bytes = call.numel * element_bytes(call);
  int64_t begin = 0;
  do {
    const int64_t piece = std::min(half_bytes_, bytes - begin);
    char* const place = static_cast<char*>(data) + begin;
    if (group_.rank == call.root) copy(staging(group_.rank), place, piece);
    meet(call);
    if (group_.rank != call.root) copy(place, staging(call.root), piece);
    next_half();
    begin += half_bytes_;
  } while (begin < bytes);
}

void SharedCollectives::barrier() {
  const Call call{.kind = Kind::kBarrier};
  show(call);
  meet(call);
}

}  // namespace phalanx::comm
