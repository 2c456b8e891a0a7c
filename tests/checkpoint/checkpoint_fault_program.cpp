// A training run reduced to its checkpoints, for tests/fault: resumes, proves that what it loaded is what was
// saved, and saves every 10 steps up to TARGET. Two ranks, as threads.
//
//     checkpoint_fault_program CHECKPOINTS TARGET
//
// On stdout, one line each: "resumed STEP", "committed STEP", "missed STEP: WHY", "notice: ...". Exits with
// the code of the error, or 1 if loaded bits are wrong.
#include <cstdio>
#include <cstdlib>

#include "checkpoint/checkpoint_store.h"
#include "comm/run_ranks.h"
#include "core/error.h"
#include "synthetic_state.h"

namespace {

using namespace phalanx;

void say(const comm::Communicator& ranks, const std::string& line) {
  if (ranks.rank() != 0) return;
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

/// The drivers that fill small disks leave no reserve.
checkpoint::CheckpointOptions options() {
  checkpoint::CheckpointOptions options;
  options.keep_last = 2;
  if (const char* spare = std::getenv("PHALANX_FAULT_SPARE_BYTES"))
    options.spare_bytes = std::strtoull(spare, nullptr, 10);
  return options;
}

void check_bits(comm::Communicator& ranks, const checkpoint::Found& found) {
  const checkpoint::State expected =
      checkpoint::synthetic_state(found.manifest.step, ranks.rank(), ranks.size());
  const checkpoint::State loaded = checkpoint::blank_like(expected);
  checkpoint::load(ranks, found.path, found.manifest, loaded.tensors);
  const std::string wrong = checkpoint::first_difference(loaded, expected);
  if (wrong.empty() && found.manifest.scalars == expected.scalars) return;
  std::fprintf(stderr, "WRONG BITS in %s: %s\n", found.path.c_str(), wrong.c_str());
  std::_Exit(1);
}

void live(comm::Communicator& ranks, const std::string& checkpoints, int64_t target) {
  checkpoint::CheckpointStore store(ranks, checkpoints, options(),
                                    [&](const std::string& line) { say(ranks, "notice: " + line); });
  int64_t step = 0;
  if (const auto found = store.find_resume()) {
    check_bits(ranks, *found);
    step = found->manifest.step;
  }
  say(ranks, "resumed " + std::to_string(step));
  while (step < target) {
    step += 10;
    const checkpoint::State state = checkpoint::synthetic_state(step, ranks.rank(), ranks.size());
    const auto result = step < target ? store.save(state, step) : store.save_last(state, step);
    say(ranks, result.committed ? "committed " + std::to_string(step)
                                : "missed " + std::to_string(step) + ": " + result.message);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 64;
  try {
    comm::run_ranks(
        2, [&](comm::Communicator& ranks) { live(ranks, argv[1], std::atoll(argv[2])); }, 30.0);
    return 0;
  } catch (const core::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
