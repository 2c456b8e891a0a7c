#include "comm/failure.h"

#include <c10/util/Exception.h>

#include <chrono>
#include <new>

namespace phalanx::comm {

std::string to_line(const Failure& failure) {
  return failure.rank < 0 ? failure.message : fmt::format("rank {}: {}", failure.rank, failure.message);
}

Failure describe_failure(std::exception_ptr error, int rank) {
  try {
    std::rethrow_exception(error);
  } catch (const PeerFailure& e) {
    return e.failure();
  } catch (const core::Error& e) {
    return {rank, e.code(), e.what()};
  } catch (const c10::Error& e) {
    return {rank, core::ExitCode::kBug, e.what_without_backtrace()};
  } catch (const std::bad_alloc&) {
    return {rank, core::ExitCode::kBug, "out of memory"};
  } catch (const std::exception& e) {
    return {rank, core::ExitCode::kBug, e.what()};
  } catch (...) {
    return {rank, core::ExitCode::kBug, "an exception that is not a std::exception"};
  }
}

void FailureRecord::post(Failure failure) {
  {
    const std::lock_guard lock(mutex_);
    if (first_ && !first_->provisional) return;
    if (first_ && failure.provisional) return;
    first_ = std::move(failure);
    failed_.store(true, std::memory_order_release);
  }
  changed_.notify_all();
}

std::optional<Failure> FailureRecord::first() const {
  const std::lock_guard lock(mutex_);
  return first_;
}

void FailureRecord::throw_if_failed() const {
  if (!failed()) return;
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::seconds(1), [this] { return !first_->provisional; });
  throw PeerFailure(*first_);
}

}  // namespace phalanx::comm
