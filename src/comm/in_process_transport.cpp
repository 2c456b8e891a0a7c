#include "comm/in_process_transport.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

#include "comm/arguments.h"
#include "comm/host_communicator.h"
#include "comm/in_process_group.h"
#include "comm/reduce.h"

namespace phalanx::comm {
namespace {

template <typename Byte>
Byte* at_element(Byte* start, const Call& call, int64_t element) {
  return start + element * static_cast<int64_t>(c10::elementSize(call.dtype));
}

char* at_element(void* start, const Call& call, int64_t element) {
  return at_element(static_cast<char*>(start), call, element);
}

const char* at_element(const void* start, const Call& call, int64_t element) {
  return at_element(static_cast<const char*>(start), call, element);
}

void copy_elements(void* to, const void* from, const Call& call, int64_t numel) {
  if (numel > 0) std::memcpy(to, from, numel * c10::elementSize(call.dtype));
}

class RecvWork : public Work {
 public:
  RecvWork(std::shared_ptr<InProcessGroup> group, at::Tensor tensor, int from, int to, int tag)
      : group_(std::move(group)), tensor_(std::move(tensor)), from_(from), to_(to), tag_(tag) {
    const std::lock_guard lock(group_->world->mutex);
    number_ = group_->mailbox(from_, to_, tag_).num_expected++;
  }

  void wait() override {
    if (done_) return;
    const at::Tensor message = take();
    TORCH_CHECK(message.scalar_type() == tensor_.scalar_type() && message.numel() == tensor_.numel(),
                "recv from rank ", from_, " with tag ", tag_, ": it sent ", message.numel(), " ",
                message.scalar_type(), " elements, expected were ", tensor_.numel(), " ",
                tensor_.scalar_type());
    if (tensor_.numel() > 0)
      std::memcpy(tensor_.mutable_data_ptr(), message.const_data_ptr(), tensor_.nbytes());
    done_ = true;
  }

 private:
  at::Tensor take() {
    InProcessWorld& world = *group_->world;
    std::unique_lock lock(world.mutex);
    auto& messages = group_->mailbox(from_, to_, tag_).messages;
    world.wait(lock, group_->world_ranks[to_], "recv",
               [&] { return messages.contains(number_) || group_->left[from_]; });
    if (auto found = messages.extract(number_)) return std::move(found.mapped());
    lock.unlock();
    world.failure.throw_if_failed();
    core::fail(core::ExitCode::kBug, "rank {} has left the group while rank {} waits for a message of it",
               group_->world_ranks[from_], group_->world_ranks[to_]);
  }

  std::shared_ptr<InProcessGroup> group_;
  at::Tensor tensor_;
  int from_, to_, tag_;
  uint64_t number_ = 0;
  bool done_ = false;
};

class SentWork : public Work {
 public:
  void wait() override {}
};

}  // namespace

void InProcessTransport::begin(const InProcessSlot& mine) {
  group_->slots[rank_] = mine;
  group_->meet(rank_, name(mine.call.kind));
  std::vector<Call> calls;
  for (int r = 0; r < size(); ++r) calls.push_back(slot(r).call);
  check_same(calls);
}

void InProcessTransport::all_reduce(const Call& call, void* data) {
  begin({.call = call, .data = data});
  const Range own = even_part(call.numel, size(), rank_);
  std::vector<const void*> sources;
  for (int r = 0; r < size(); ++r) sources.push_back(at_element(slot(r).data, call, own.begin));
  void* const mine = at_element(data, call, own.begin);
  tree_reduce(mine, nullptr, sources, own.size(), call.dtype, call.op);
  for (int r = 0; r < size(); ++r) {
    if (r != rank_) copy_elements(at_element(slot(r).data, call, own.begin), mine, call, own.size());
  }
  end(call.kind);
}

void InProcessTransport::reduce_scatter(const Call& call, void* output, const void* input) {
  begin({.call = call, .input = input});
  std::vector<const void*> sources;
  for (int r = 0; r < size(); ++r) sources.push_back(at_element(slot(r).input, call, rank_ * call.numel));
  // The output may be this rank's part of its own input, which nobody else reads.
  tree_reduce(output, nullptr, sources, call.numel, call.dtype, call.op);
  end(call.kind);
}

void InProcessTransport::all_gather(const Call& call, void* output, const void* input) {
  begin({.call = call, .input = input});
  for (int r = 0; r < size(); ++r) {
    char* const place = at_element(output, call, r * call.numel);
    if (place != slot(r).input) copy_elements(place, slot(r).input, call, call.numel);
  }
  end(call.kind);
}

void InProcessTransport::all_to_all(const Call& call, void* output, const void* input,
                                    const std::vector<int64_t>& output_splits,
                                    const std::vector<int64_t>& input_splits) {
  begin({.call = call,
         .input = input,
         .input_splits = input_splits.data(),
         .output_splits = output_splits.data()});
  for (int from = 0; from < size(); ++from) {
    for (int to = 0; to < size(); ++to)
      check_split(from, to, slot(from).input_splits[to], slot(to).output_splits[from]);
  }
  int64_t written = 0;
  for (int r = 0; r < size(); ++r) {
    const int64_t* const splits = slot(r).input_splits;
    const int64_t skipped = std::accumulate(splits, splits + rank_, int64_t{0});
    copy_elements(at_element(output, call, written), at_element(slot(r).input, call, skipped), call,
                  splits[rank_]);
    written += splits[rank_];
  }
  end(call.kind);
}

void InProcessTransport::broadcast(const Call& call, void* data) {
  begin({.call = call, .data = data});
  if (rank_ != call.root) copy_elements(data, slot(call.root).data, call, call.numel);
  end(call.kind);
}

void InProcessTransport::barrier() {
  begin({.call = {.kind = Kind::kBarrier}});
  end(Kind::kBarrier);  // the slots have been read by all
}

std::unique_ptr<HostTransport> InProcessTransport::split(int color, int key) {
  begin({.call = {.kind = Kind::kSplit}, .color = color, .key = key});
  std::vector<int> members;
  for (int r = 0; r < size(); ++r) {
    if (slot(r).color == color) members.push_back(r);
  }
  std::stable_sort(members.begin(), members.end(),
                   [this](int a, int b) { return slot(a).key < slot(b).key; });
  if (members.front() == rank_) {  // the first makes the group for all
    std::vector<int> world_ranks;
    for (const int r : members) world_ranks.push_back(group_->world_ranks[r]);
    const std::lock_guard lock(group_->world->mutex);
    group_->parts[color] = std::make_shared<InProcessGroup>(group_->world, world_ranks);
  }
  end(Kind::kSplit);
  std::shared_ptr<InProcessGroup> part;
  {
    const std::lock_guard lock(group_->world->mutex);
    part = group_->parts.at(color);
  }
  const auto place = std::find(members.begin(), members.end(), rank_) - members.begin();
  return std::make_unique<InProcessTransport>(std::move(part), static_cast<int>(place));
}

std::unique_ptr<Work> InProcessTransport::send(at::Tensor tensor, int to, int tag) {
  group_->world->failure.throw_if_failed();
  at::Tensor copy = tensor.clone();
  const std::lock_guard lock(group_->world->mutex);
  InProcessGroup::Mailbox& box = group_->mailbox(rank_, to, tag);
  box.messages[box.num_sent++] = std::move(copy);
  group_->world->changed.notify_all();
  return std::make_unique<SentWork>();
}

std::unique_ptr<Work> InProcessTransport::recv(at::Tensor tensor, int from, int tag) {
  return std::make_unique<RecvWork>(group_, std::move(tensor), from, rank_, tag);
}

InProcessRanks make_in_process_ranks(int num_ranks) {
  TORCH_CHECK(num_ranks > 0, "a group needs at least one rank, not ", num_ranks);
  std::vector<int> ranks(num_ranks);
  std::iota(ranks.begin(), ranks.end(), 0);
  const auto world = std::make_shared<InProcessWorld>(num_ranks);
  const auto group = std::make_shared<InProcessGroup>(world, ranks);
  InProcessRanks made;
  for (const int rank : ranks) {
    made.communicators.push_back(
        std::make_unique<HostCommunicator>(std::make_unique<InProcessTransport>(group, rank)));
  }
  made.fail = [world](Failure failure) { world->fail(std::move(failure)); };
  made.waiting = [world] { return world->waiting(); };
  return made;
}

}  // namespace phalanx::comm
