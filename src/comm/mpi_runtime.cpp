#include "comm/mpi_runtime.h"

#include "comm/host_communicator.h"
#include "comm/job_control.h"
#include "comm/mpi_error.h"
#include "comm/mpi_transport.h"

namespace phalanx::comm {

MpiRuntime::MpiRuntime() {
  int provided = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  if (provided < MPI_THREAD_MULTIPLE) {
    MPI_Finalize();
    core::fail(core::ExitCode::kBadConfig,
               "this MPI library was built without MPI_THREAD_MULTIPLE, which is needed; "
               "Debian's Open MPI has it");
  }
  control_ = std::make_shared<JobControl>(MPI_COMM_WORLD);
  MPI_Comm host = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host),
            "MPI_Comm_split_type");
  MPI_Comm_rank(host, &local_rank_);
  MPI_Comm_size(host, &local_size_);
  MPI_Comm_free(&host);
}

MpiRuntime::~MpiRuntime() {
  control_->poll();
  if (const auto failure = control_->record().first())
    MPI_Abort(MPI_COMM_WORLD, static_cast<int>(failure->code));
  control_.reset();
  MPI_Finalize();
}

int MpiRuntime::rank() const {
  return control_->rank();
}
int MpiRuntime::size() const {
  return control_->size();
}

std::string MpiRuntime::library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  check_mpi(MPI_Get_library_version(text, &length), "MPI_Get_library_version");
  return {text, static_cast<size_t>(length)};
}

void MpiRuntime::end_failed_job(const Failure& own,
                                const std::function<void(const std::string& line)>& print) {
  control_->end_job(own, print);
}

std::unique_ptr<Communicator> make_mpi_communicator(const MpiRuntime& runtime, const MpiOptions& options) {
  MPI_Comm world = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &world), "MPI_Comm_dup");
  return std::make_unique<HostCommunicator>(
      std::make_unique<MpiTransport>(runtime.control(), world, options));
}

}  // namespace phalanx::comm
