#pragma once
#include <mpi.h>

namespace phalanx::comm {

/// The one place where MPI's return codes are met: anything but MPI_SUCCESS becomes a core::Error that names
/// `call`.
void check_mpi(int code, const char* call);

}  // namespace phalanx::comm
