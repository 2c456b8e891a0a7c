#include "checkpoint/agreement.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>

#include "checkpoint/storage.h"

namespace phalanx::checkpoint {

namespace {

constexpr size_t kMaxMessages = 4;

struct Status {
  int64_t code = 0;  // ExitCode; 0 is success
  bool is_shortage = false;
  std::string message;
};

Status status_of(const std::function<void()>& body) {
  const auto code = [](core::ExitCode c) { return static_cast<int64_t>(c); };
  try {
    body();
    return {};
  } catch (const StorageError& error) {
    return {code(core::ExitCode::kStorage), error.is_shortage(), error.what()};
  } catch (const PhaseFailed& error) {
    return {code(error.code()), error.is_shortage(), error.what()};
  } catch (const core::Error& error) {
    return {code(error.code()), false, error.what()};
  } catch (const std::exception& error) {
    return {code(core::ExitCode::kBug), false, error.what()};
  } catch (...) {
    return {code(core::ExitCode::kBug), false, "an exception of unknown type"};
  }
}

std::string joined(const std::vector<std::string>& messages) {
  std::string text;
  size_t count = 0;
  for (size_t rank = 0; rank < messages.size(); ++rank) {
    if (messages[rank].empty()) continue;
    if (++count > kMaxMessages) continue;
    if (count > 1) text += "; ";
    text += messages.size() > 1 ? fmt::format("rank {}: {}", rank, messages[rank]) : messages[rank];
  }
  if (count > kMaxMessages) text += fmt::format("; and {} more ranks", count - kMaxMessages);
  return text;
}

}  // namespace

void agree(comm::Communicator& ranks, const std::string& phase, const std::function<void()>& body) {
  const Status mine = status_of(body);
  // One number carries both: the larger code wins, and with it the word "shortage".
  const int64_t worst = ranks.all_reduce_scalar(mine.code * 2 + (mine.is_shortage ? 1 : 0), comm::ReduceOp::kMax);
  if (worst == 0) return;
  const auto messages = ranks.all_gather_strings(mine.code == 0 ? "" : mine.message);
  throw PhaseFailed(static_cast<core::ExitCode>(worst / 2), fmt::format("{}: {}", phase, joined(messages)), worst % 2 == 1);
}

}  // namespace phalanx::checkpoint
