#pragma once
#include "comm/communicator.h"
#include "formats/writer_rank.h"

namespace phalanx::launch {

/// The ranks of `group`, which must outlive it, as writers of one file or folder.
inline formats::WriterRank writer_rank(comm::Communicator& group) {
  return {group.rank(), group.size(), [&group] { group.barrier(); }};
}

}  // namespace phalanx::launch
