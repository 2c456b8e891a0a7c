#pragma once
#include <cstdint>
#include <string>

namespace phalanx::checkpoint {

/// Section `checkpoint`.
struct CheckpointOptions {
  int64_t every_steps = 0;      // 0: only when asked to stop
  int64_t keep_last = 2;        // 0: all
  std::string resume = "auto";  // auto | never | must | a path
  bool strict = false;
  uint64_t spare_bytes = uint64_t{64}
                         << 20;  // disk that must stay free besides the checkpoint; not a key of the config
  bool save_final = true;        // write final/ when the run is done
};

}  // namespace phalanx::checkpoint
