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
};

std::vector<char> pack(int32_t word, const Failure& failure) {
  const Header header{word, failure.rank, static_cast<int32_t>(failure.code), failure.provisional};
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
  {
    const std::lock_guard lock(mutex_);
    if (!failure.provisional && !failures_.emplace(failure.rank, failure).second) return;  // told already
  }
  record_.post(failure);
  if (failure.rank == rank_) tell_all(Word::kFailed, failure);
}

void JobControl::tell_all(Word word, const Failure& failure) {
  const std::lock_guard lock(mutex_);
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    sent_.push_back(pack(static_cast<int32_t>(word), failure));
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
  if (!failure.provisional) failures_.emplace(failure.rank, failure);
  record_.post(failure);
}

bool JobControl::said_by_another(const Failure& own) {
  const std::lock_guard lock(mutex_);
  return std::any_of(failures_.begin(), failures_.end(), [&](const auto& entry) {
    return entry.first != rank_ && entry.second.message == own.message;
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
  const bool mine = own.rank == rank_;
  poll();
  const bool said_before = mine && said_by_another(own);
  fail(own);
  for (const auto until = Clock::now() + std::chrono::duration<double>(kSettle_s); Clock::now() < until;) {
    poll();
    std::this_thread::sleep_for(kPollEvery);
  }
  Failure first;  // of the lowest rank: all ranks end with its exit code
  {
    const std::lock_guard lock(mutex_);
    first = failures_.empty() ? own : failures_.begin()->second;
  }
  // Of ranks that fail alike at one time the lowest speaks.
  const bool said_below = first.rank < rank_ && said_by_another(own);
  if (mine && !said_before && !said_below) print(size_ > 1 ? to_line(own) : own.message);
  tell_all(Word::kLeft, own);
  wait_for_the_others(first.rank == rank_ ? kFarewell_s : 2 * kFarewell_s);
  if (first.rank != rank_) std::this_thread::sleep_for(std::chrono::milliseconds(500));  // it ends the job
  MPI_Abort(control_, static_cast<int>(first.code));
  std::_Exit(static_cast<int>(first.code));
}

void JobControl::keep(at::Tensor tensor) {
  const std::lock_guard lock(mutex_);
  kept_.push_back(std::move(tensor));
}

}  // namespace phalanx::comm
