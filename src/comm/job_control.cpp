#include "comm/job_control.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "comm/mpi_error.h"

namespace phalanx::comm {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kMaxText = 3000;    // stays below every eager limit: the receiver need not answer
constexpr double kSettle_s = 0.1;    // in which ranks that fail of one cause hear of each other
constexpr double kFarewell_s = 3.0;  // for the other ranks to close their files
constexpr std::chrono::milliseconds kPollEvery{5};

struct Header {
  int32_t word;
  int32_t rank;
  int32_t code;
  int32_t provisional;
  int32_t echo;
};

std::vector<char> pack(int32_t word, const Failure& failure, bool echo) {
  const Header header{word, failure.rank, static_cast<int32_t>(failure.code), failure.provisional, echo};
  const size_t length = std::min(failure.message.size(), kMaxText);
  std::vector<char> message(sizeof(header) + length);
  std::memcpy(message.data(), &header, sizeof(header));
  std::memcpy(message.data() + sizeof(header), failure.message.data(), length);
  return message;
}

}  // namespace

JobControl::JobControl(MPI_Comm world) {
  check_mpi(MPI_Comm_dup(world, &control_), "MPI_Comm_dup");
  check_mpi(MPI_Comm_set_errhandler(control_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(control_, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(control_, &size_), "MPI_Comm_size");
}

JobControl::~JobControl() {
  if (!record_.failed()) MPI_Comm_free(&control_);
}

void JobControl::fail(const Failure& failure) {
  bool echo = false;
  {
    const std::lock_guard lock(mutex_);
    echo = failure.rank == rank_ && said_by(failure.message, 0, size_, /*or_echoed=*/true);
    if (!failure.provisional && !failures_.emplace(failure.rank, Said{failure, echo}).second)
      return;  // told already
  }
  record_.post(failure);
  if (failure.rank == rank_) tell_all(Word::kFailed, failure, echo);
}

void JobControl::tell_all(Word word, const Failure& failure, bool echo) {
  const std::lock_guard lock(mutex_);
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    sent_.push_back(pack(static_cast<int32_t>(word), failure, echo));
    sending_.push_back(MPI_REQUEST_NULL);
    // A failure to tell cannot be told either.
    MPI_Isend(sent_.back().data(), static_cast<int>(sent_.back().size()), MPI_BYTE, peer, 0, control_,
              &sending_.back());
  }
}

void JobControl::poll() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return;  // another thread is at it
  while (true) {
    int there = 0;
    MPI_Status status;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, control_, &there, &status), "MPI_Iprobe");
    if (!there) return;
    int length = 0;
    MPI_Get_count(&status, MPI_BYTE, &length);
    std::vector<char> message(length);
    check_mpi(MPI_Recv(message.data(), length, MPI_BYTE, status.MPI_SOURCE, status.MPI_TAG, control_,
                       MPI_STATUS_IGNORE),
              "MPI_Recv");
    hear(message);
  }
}

void JobControl::hear(const std::vector<char>& message) {
  Header header;
  std::memcpy(&header, message.data(), sizeof(header));
  if (static_cast<Word>(header.word) == Word::kLeft) {
    ++num_left_;
    return;
  }
  const Failure failure{header.rank, static_cast<core::ExitCode>(header.code),
                        std::string(message.begin() + sizeof(header), message.end()),
                        header.provisional != 0};
  if (!failure.provisional) failures_.emplace(failure.rank, Said{failure, header.echo != 0});
  record_.post(failure);
}

bool JobControl::said_by(const std::string& message, int first_rank, int end_rank, bool or_echoed) const {
  return std::any_of(
      failures_.lower_bound(first_rank), failures_.lower_bound(end_rank), [&](const auto& entry) {
        const Said& said = entry.second;
        return entry.first != rank_ && said.failure.message == message && (or_echoed || !said.echo);
      });
}

void JobControl::wait_for_the_others(double seconds) {
  const auto deadline = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < deadline) {
    poll();
    {
      const std::lock_guard lock(mutex_);
      if (num_left_ == size_ - 1) return;
    }
    std::this_thread::sleep_for(kPollEvery);
  }
}

void JobControl::end_job(const Failure& own, const std::function<void(const std::string& line)>& print) {
  poll();
  fail(own);
  for (const auto until = Clock::now() + std::chrono::duration<double>(kSettle_s); Clock::now() < until;) {
    poll();
    std::this_thread::sleep_for(kPollEvery);
  }
  Failure first;  // of the lowest rank: all ranks end with its exit code
  bool speaks = false;
  {
    const std::lock_guard lock(mutex_);
    first = failures_.empty() ? own : failures_.begin()->second.failure;
    // Of ranks that fail alike at one time the lowest speaks; who had heard it before (an echo) never does,
    // so that nobody waits for it to speak.
    const auto self = failures_.find(rank_);
    speaks = own.rank == rank_ && !(self != failures_.end() && self->second.echo) &&
             !said_by(own.message, 0, rank_, /*or_echoed=*/false);
  }
  if (speaks) print(size_ > 1 ? to_line(own) : own.message);
  tell_all(Word::kLeft, own, false);
  wait_for_the_others(first.rank == rank_ ? kFarewell_s : 2 * kFarewell_s);
  if (first.rank != rank_) std::this_thread::sleep_for(std::chrono::milliseconds(500));  // it ends the job
  MPI_Abort(control_, static_cast<int>(first.code));
  std::_Exit(static_cast<int>(first.code));
}

void JobControl::keep(std::shared_ptr<const void> memory) {
  const std::lock_guard lock(mutex_);
  kept_.push_back(std::move(memory));
}

}  // namespace phalanx::comm
