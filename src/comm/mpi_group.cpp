#include "comm/mpi_group.h"

#include <algorithm>
#include <thread>

#include "comm/mpi_error.h"

namespace phalanx::comm {
namespace {

constexpr int kPollsAtFullSpeed = 200;
constexpr std::chrono::microseconds kShortestSleep{20};
constexpr std::chrono::microseconds kLongestSleep{500};

}  // namespace

MpiGroup::MpiGroup(std::shared_ptr<JobControl> job, MPI_Comm owned, const MpiOptions& chosen)
    : control(std::move(job)), collectives(owned), options(chosen) {
  check_mpi(MPI_Comm_set_errhandler(collectives, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_dup(collectives, &messages), "MPI_Comm_dup");
  check_mpi(MPI_Comm_set_errhandler(messages, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(collectives, &rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(collectives, &size), "MPI_Comm_size");
  MPI_Comm host = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(collectives, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host),
            "MPI_Comm_split_type");
  int host_size = 0;
  MPI_Comm_size(host, &host_size);
  MPI_Comm_free(&host);
  one_host = host_size == size;
}

MpiGroup::~MpiGroup() {
  if (control->record().failed()) return;  // freeing is collective, and not all are there
  MPI_Comm_free(&messages);
  MPI_Comm_free(&collectives);
}

void PoliteWait::pause() {
  if (++pauses_ <= kPollsAtFullSpeed) return;
  group_.control->check();
  check_patience(group_, what_, start_, peer_);
  std::this_thread::sleep_for(std::min(kShortestSleep * (pauses_ - kPollsAtFullSpeed), kLongestSleep));
}

void check_patience(const MpiGroup& group, const char* what, std::chrono::steady_clock::time_point since,
                    int late_rank) {
  const double limit_s = group.options.timeout_s;
  if (limit_s <= 0) return;
  if (std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count() < limit_s) return;
  core::fail(core::ExitCode::kBug, "timed out after {} s in {} on rank {} of a group of {}: {}", limit_s,
             what, group.rank, group.size,
             late_rank < 0 ? std::string("another rank did not come")
                           : fmt::format("rank {} did not come", late_rank));
}

}  // namespace phalanx::comm
