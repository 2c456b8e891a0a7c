#include "checkpoint/agreement.h"

#include <fmt/core.h>

#include <cstdint>

#include "checkpoint/storage.h"

namespace phalanx::checkpoint {

namespace {

constexpr size_t kMaxMessages = 4;

struct Status {
  int64_t code = 0;  // ExitCode; 0 is success
  std::string message;
};

Status status_of(const std::function<void()>& body) {
  const auto code = [](core::ExitCode c) { return static_cast<int64_t>(c); };
  try {
    body();
    return {};
  } catch (const StorageError& error) {
    return {code(core::ExitCode::kStorage), error.what()};
  } catch (const core::Error& error) {
    return {code(error.code()), error.what()};
  } catch (const std::exception& error) {
    return {code(core::ExitCode::kBug), error.what()};
  } catch (...) {
    return {code(core::ExitCode::kBug), "an exception of unknown type"};
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
  const int64_t worst = ranks.all_reduce_scalar(mine.code, comm::ReduceOp::kMax);
  if (worst == 0) return;
  const auto messages = ranks.all_gather_strings(mine.code == 0 ? "" : mine.message);
  throw PhaseFailed(static_cast<core::ExitCode>(worst), fmt::format("{}: {}", phase, joined(messages)));
}

}  // namespace phalanx::checkpoint
