#include "comm/mpi_error.h"

#include <string_view>

#include "core/error.h"

namespace phalanx::comm {

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  core::fail(core::ExitCode::kBug, "{}: {}", call, std::string_view(text, length));
}

}  // namespace phalanx::comm
