#include "comm/mpi_messages.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "comm/arguments.h"
#include "comm/mpi_error.h"
#include "comm/reduce.h"

namespace phalanx::comm {
namespace {

constexpr int64_t kMaxMessage = int64_t{1} << 30;
constexpr int64_t kPieceBytes = int64_t{4} << 20;

/// A tag that differs between different calls: 30 bits of a hash (Open MPI allows 31).
int tag_of(const Call& call) {
  uint64_t hash = static_cast<uint64_t>(call.kind);
  for (const uint64_t part : {static_cast<uint64_t>(call.dtype), static_cast<uint64_t>(call.op),
                              static_cast<uint64_t>(call.root), static_cast<uint64_t>(call.numel)}) {
    hash = (hash ^ part) * 0x9E3779B97F4A7C15ull;
    hash ^= hash >> 29;
  }
  return static_cast<int>(hash & 0x3FFFFFFF);
}

int64_t element_bytes(const Call& call) {
  return static_cast<int64_t>(c10::elementSize(call.dtype));
}

template <typename Start>
std::vector<MPI_Request> start_pieces(const Parcel& parcel, Start start) {
  std::vector<MPI_Request> requests;
  for (int64_t offset = 0; offset == 0 || offset < parcel.bytes; offset += kMaxMessage) {
    const int bytes = static_cast<int>(std::min(kMaxMessage, parcel.bytes - offset));
    start(static_cast<char*>(parcel.data) + offset, bytes, &requests.emplace_back(MPI_REQUEST_NULL));
  }
  return requests;
}

}  // namespace

std::vector<MPI_Request> start_sending(MPI_Comm comm, const Parcel& parcel, int tag) {
  return start_pieces(parcel, [&](char* data, int bytes, MPI_Request* request) {
    check_mpi(MPI_Isend(data, bytes, MPI_BYTE, parcel.peer, tag, comm, request), "MPI_Isend");
  });
}

std::vector<MPI_Request> start_receiving(MPI_Comm comm, const Parcel& parcel, int tag) {
  return start_pieces(parcel, [&](char* data, int bytes, MPI_Request* request) {
    check_mpi(MPI_Irecv(data, bytes, MPI_BYTE, parcel.peer, tag, comm, request), "MPI_Irecv");
  });
}

void Transfer::add(std::vector<MPI_Request> requests) {
  pending_.insert(pending_.end(), requests.begin(), requests.end());
}

bool Transfer::test() {
  if (pending_.empty()) return true;
  int num_done = 0;
  std::vector<int> done(pending_.size());
  std::vector<MPI_Status> statuses(pending_.size());
  const int code = MPI_Testsome(static_cast<int>(pending_.size()), pending_.data(), &num_done, done.data(),
                                statuses.data());
  if (code == MPI_ERR_IN_STATUS) {
    for (int i = 0; i < num_done; ++i) check_mpi(statuses[i].MPI_ERROR, "MPI_Testsome");
  }
  check_mpi(code, "MPI_Testsome");
  for (int i = 0; i < num_done && num_done != MPI_UNDEFINED; ++i) {
    int bytes = 0;
    MPI_Get_count(&statuses[i], MPI_BYTE, &bytes);  // of a send: undefined, and not read
    if (bytes != MPI_UNDEFINED) received_bytes_ += bytes;
  }
  std::erase(pending_, MPI_REQUEST_NULL);
  return pending_.empty();
}

void MpiMessages::exchange(const Call& call, const std::vector<Parcel>& out, const std::vector<Parcel>& in) {
  const int tag = tag_of(call);
  Transfer transfer;
  for (const Parcel& parcel : in) transfer.add(start_receiving(group_.collectives, parcel, tag));
  for (const Parcel& parcel : out) transfer.add(start_sending(group_.collectives, parcel, tag));
  PoliteWait wait(group_, name(call.kind));
  try {
    while (!transfer.test()) wait.pause();
  } catch (...) {  // MPI still has the addresses
    group_.control->keep(std::exchange(scratch_, std::make_shared<Scratch>()));
    throw;
  }
}

void MpiMessages::reduce_own_part(const Call& call, char* own, const std::vector<Parcel>& out, int64_t numel,
                                  char* result) {
  const int64_t bytes = numel * element_bytes(call);
  std::vector<char>& versions = scratch_->versions;
  versions.resize(std::max<size_t>(versions.size(), bytes * group_.size));
  std::vector<Parcel> in;
  std::vector<const void*> sources;
  for (int r = 0; r < group_.size; ++r) {
    char* const place = r == group_.rank ? own : versions.data() + r * bytes;
    sources.push_back(place);
    if (r != group_.rank) in.push_back({r, place, bytes});
  }
  exchange(call, out, in);
  tree_reduce(result, nullptr, sources, numel, call.dtype, call.op);
}

void MpiMessages::all_reduce(const Call& call, void* data) {
  const int64_t width = element_bytes(call);
  const int64_t piece = std::max<int64_t>(kPieceBytes / width, 1) * group_.size;
  for (int64_t begin = 0; begin < call.numel; begin += piece) {
    const int64_t numel = std::min(piece, call.numel - begin);
    const auto part = [&](int rank) {
      const Range range = even_part(numel, group_.size, rank);
      return Parcel{rank, static_cast<char*>(data) + (begin + range.begin) * width, range.size() * width};
    };
    std::vector<Parcel> others;
    for (int r = 0; r < group_.size; ++r) {
      if (r != group_.rank) others.push_back(part(r));
    }
    const Parcel own = part(group_.rank);
    auto* const mine = static_cast<char*>(own.data);
    reduce_own_part(call, mine, others, own.bytes / width, mine);
    std::vector<Parcel> mine_to_others;
    for (const Parcel& other : others) mine_to_others.push_back({other.peer, own.data, own.bytes});
    exchange(call, mine_to_others, others);
  }
}

void MpiMessages::reduce_scatter(const Call& call, void* output, const void* input) {
  const int64_t width = element_bytes(call);
  const int64_t piece = std::max<int64_t>(kPieceBytes / width, 1);
  auto* const in =
      const_cast<char*>(static_cast<const char*>(input));  // MPI's send side takes no const through Parcel
  for (int64_t begin = 0; begin < call.numel; begin += piece) {
    const int64_t numel = std::min(piece, call.numel - begin);
    const auto part = [&](int rank) { return in + (rank * call.numel + begin) * width; };
    std::vector<Parcel> out;
    for (int r = 0; r < group_.size; ++r) {
      if (r != group_.rank) out.push_back({r, part(r), numel * width});
    }
    reduce_own_part(call, part(group_.rank), out, numel, static_cast<char*>(output) + begin * width);
  }
}

void MpiMessages::all_gather(const Call& call, void* output, const void* input) {
  const int64_t bytes = call.numel * element_bytes(call);
  std::vector<Parcel> out, in;
  for (int r = 0; r < group_.size; ++r) {
    char* const place = static_cast<char*>(output) + r * bytes;
    if (r == group_.rank) {
      if (place != input && bytes > 0) std::memcpy(place, input, bytes);
    } else {
      out.push_back({r, const_cast<void*>(input), bytes});
      in.push_back({r, place, bytes});
    }
  }
  exchange(call, out, in);
}

void MpiMessages::all_to_all(const Call& call, void* output, const void* input,
                             const std::vector<int64_t>& output_splits,
                             const std::vector<int64_t>& input_splits) {
  std::vector<int64_t>& announced = scratch_->announced;
  std::vector<int64_t>& to_announce = scratch_->to_announce;
  announced.assign(group_.size, 0);
  to_announce = input_splits;
  const Call counts{.kind = Kind::kAllToAll, .dtype = c10::ScalarType::Long, .numel = 1};
  std::vector<Parcel> out, in;
  for (int r = 0; r < group_.size; ++r) {
    out.push_back({r, &to_announce[r], sizeof(int64_t)});
    in.push_back({r, &announced[r], sizeof(int64_t)});
  }
  exchange(counts, out, in);
  for (int r = 0; r < group_.size; ++r) check_split(r, group_.rank, announced[r], output_splits[r]);

  out.clear();
  in.clear();
  const int64_t width = element_bytes(call);
  auto* from = const_cast<char*>(static_cast<const char*>(input));
  auto* to = static_cast<char*>(output);
  for (int r = 0; r < group_.size; ++r) {
    out.push_back({r, from, input_splits[r] * width});
    in.push_back({r, to, output_splits[r] * width});
    from += input_splits[r] * width;
    to += output_splits[r] * width;
  }
  exchange(call, out, in);
}

void MpiMessages::broadcast(const Call& call, void* data) {
  // The root deals out one part to each rank, then all gather the parts: no rank sends much more than
  // another.
  const int64_t width = element_bytes(call);
  const auto part = [&](int rank) {
    const Range range = even_part(call.numel, group_.size, rank);
    return Parcel{rank, static_cast<char*>(data) + range.begin * width, range.size() * width};
  };
  const Parcel own = part(group_.rank);
  const bool is_root = group_.rank == call.root;
  std::vector<Parcel> others, own_to_others;
  for (int r = 0; r < group_.size; ++r) {
    if (r == group_.rank) continue;
    if (r != call.root || is_root) others.push_back(part(r));
    if (r != call.root) own_to_others.push_back({r, own.data, own.bytes});
  }
  if (is_root) {
    exchange(call, others, {});
    exchange(call, own_to_others, {});  // the root's own part goes out with the second round
  } else {
    exchange(call, {}, {{call.root, own.data, own.bytes}});
    others.push_back(part(call.root));
    exchange(call, own_to_others, others);
  }
}

void MpiMessages::barrier() {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(group_.collectives, &request), "MPI_Ibarrier");
  Transfer transfer;
  transfer.add({request});
  PoliteWait wait(group_, "barrier");
  while (!transfer.test()) wait.pause();
}

}  // namespace phalanx::comm
