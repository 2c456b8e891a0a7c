#include "comm/in_process_state.h"

namespace phalanx::comm {

void InProcessWorld::fail(Failure what) {
  failure.post(std::move(what));
  { const std::lock_guard lock(mutex); }  // nobody is between testing the record and going to sleep
  changed.notify_all();
}

void InProcessWorld::keep(std::shared_ptr<const void> memory) {
  const std::lock_guard lock(mutex);
  kept.push_back(std::move(memory));
}

std::string InProcessWorld::waiting() {
  const std::lock_guard lock(mutex);
  std::string text;
  for (size_t rank = 0; rank < waiting_in.size(); ++rank) {
    for (const std::string& what : waiting_in[rank]) {
      text += fmt::format("{}rank {} waits in {}", text.empty() ? "" : ", ", rank, what);
    }
  }
  return text.empty() ? "none waits for another" : text;
}

InProcessGroup::InProcessGroup(std::shared_ptr<InProcessWorld> shared_world, std::vector<int> ranks)
    : world(std::move(shared_world)),
      world_ranks(std::move(ranks)),
      slots(world_ranks.size()),
      meetings(world_ranks.size()),
      left(world_ranks.size()) {}

void InProcessGroup::meet(int rank, const char* what) {
  if (size() == 1) return world->failure.throw_if_failed();
  std::unique_lock lock(world->mutex);
  const uint64_t mine = ++meetings[rank];
  world->changed.notify_all();
  for (int peer = 0; peer < size(); ++peer) {
    world->wait(lock, world_ranks[rank], what, [&] { return meetings[peer] >= mine || left[peer]; });
    if (meetings[peer] >= mine) continue;
    lock.unlock();
    world->failure.throw_if_failed();
    core::fail(core::ExitCode::kBug, "rank {} has left the group while rank {} waits for it in {}",
               world_ranks[peer], world_ranks[rank], what);
  }
}

void InProcessGroup::leave(int rank) {
  const std::lock_guard lock(world->mutex);
  left[rank] = true;
  world->changed.notify_all();
}

}  // namespace phalanx::comm
