#include "parallel/mesh.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace phalanx::parallel {
namespace {

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

// The place of this rank when ranks of one host stand together.
int64_t place_by_host(comm::Communicator& world) {
  const std::vector<std::string> hosts = world.all_gather_strings(host_name());
  std::vector<std::string> order;
  for (const std::string& host : hosts) {
    if (std::find(order.begin(), order.end(), host) == order.end()) order.push_back(host);
  }
  int64_t place = 0;
  for (const std::string& host : order) {
    for (size_t rank = 0; rank < hosts.size(); ++rank) {
      if (hosts[rank] != host) continue;
      if (static_cast<int>(rank) == world.rank()) return place;
      ++place;
    }
  }
  return place;
}

}  // namespace

std::string MeshShape::text() const {
  return fmt::format("pp {} x dp_replicate {} x dp_shard {} x cp {} x tp {} = {} ranks{}", pp, dp_replicate,
                     dp_shard, cp, tp, num_ranks(), ep > 1 ? fmt::format(", ep {}", ep) : "");
}

MeshPosition position_of(int64_t index, const MeshShape& shape) {
  MeshPosition position;
  const auto take = [&](int64_t size) {
    const int64_t coordinate = index % size;
    index /= size;
    return coordinate;
  };
  position.tp = take(shape.tp);
  position.cp = take(shape.cp);
  position.dp_shard = take(shape.dp_shard);
  position.dp_replicate = take(shape.dp_replicate);
  position.pp = take(shape.pp);
  return position;
}

Mesh::Mesh(comm::Communicator& world, const MeshShape& shape) : world_(world), shape_(shape) {
  if (shape.num_ranks() != world.size()) {
    core::fail(core::ExitCode::kBadConfig, "the mesh {} needs {} ranks but there are {}", shape.text(),
               shape.num_ranks(), world.size());
  }
  const int64_t num_shards = shape.dp_shard * shape.cp;
  if (num_shards % shape.ep != 0) {
    core::fail(core::ExitCode::kBadConfig, "parallel.ep is {} but must divide the {} ranks of dp_shard x cp",
               shape.ep, num_shards);
  }
  const int64_t place = place_by_host(world);
  position_ = position_of(place, shape);
  const MeshPosition& at = position_;
  // A group is the ranks with equal `color`, in the order of `key`.
  const auto group = [&](int64_t color, int64_t key, int64_t size) {
    if (size == 1) return comm::make_single_communicator();
    return world.split(static_cast<int>(color), static_cast<int>(key));
  };
  const MeshShape& s = shape_;
  const int64_t dp = at.dp_replicate * s.dp_shard + at.dp_shard;
  pp_ = group(place % (s.num_ranks() / s.pp), at.pp, s.pp);
  tp_ = group(place / s.tp, at.tp, s.tp);
  cp_ = group((at.pp * s.dp_replicate * s.dp_shard + dp) * s.tp + at.tp, at.cp, s.cp);
  dp_ = group((at.pp * s.cp + at.cp) * s.tp + at.tp, dp, s.dp_replicate * s.dp_shard);
  shard_ = group((at.pp * s.dp_replicate + at.dp_replicate) * s.tp + at.tp, at.dp_shard * s.cp + at.cp,
                 s.dp_shard * s.cp);
  replicate_ = group(((at.pp * s.dp_shard + at.dp_shard) * s.cp + at.cp) * s.tp + at.tp, at.dp_replicate,
                     s.dp_replicate);
  batch_ = group(at.pp * s.tp + at.tp, dp * s.cp + at.cp, s.dp_replicate * s.dp_shard * s.cp);
  const int64_t in_shard = at.dp_shard * s.cp + at.cp, ep_groups = num_shards / s.ep;
  const int64_t ep_group = in_shard / s.ep, in_ep = in_shard % s.ep;
  const int64_t shard_group = (at.pp * s.dp_replicate + at.dp_replicate) * s.tp + at.tp;
  ep_ = group(shard_group * ep_groups + ep_group, in_ep, s.ep);
  if (s.ep == 1) return;
  expert_shard_ = group(shard_group * s.ep + in_ep, ep_group, ep_groups);
  expert_batch_ = group((at.pp * s.tp + at.tp) * s.ep + in_ep, at.dp_replicate * ep_groups + ep_group,
                        s.dp_replicate * ep_groups);
}

Holders Mesh::holders(bool of_expert) const {
  if (of_expert && expert_shard_) return {*expert_shard_, *replicate_, *expert_batch_};
  return {*shard_, *replicate_, *batch_};
}

}  // namespace phalanx::parallel
