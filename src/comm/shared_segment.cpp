#include "comm/shared_segment.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include "comm/mpi_error.h"

namespace phalanx::comm {
namespace {

char* map(int file, size_t bytes) {
  if (file < 0) return nullptr;
  void* const data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  return data == MAP_FAILED ? nullptr : static_cast<char*>(data);
}

int create(size_t bytes) {
  const int file = memfd_create("phalanx", MFD_CLOEXEC);
  if (file >= 0 && ftruncate(file, static_cast<off_t>(bytes)) == 0) return file;
  if (file >= 0) close(file);
  return -1;
}

}  // namespace

SharedSegment::SharedSegment(const MpiGroup& group, size_t bytes) : bytes_(bytes) {
  int file = -1;
  int owner[2] = {static_cast<int>(getpid()), -1};
  if (group.rank == 0) {
    file = create(bytes);
    data_ = map(file, bytes);
    owner[1] = file;
  }
  check_mpi(MPI_Bcast(owner, 2, MPI_INT, 0, group.collectives), "MPI_Bcast");
  if (group.rank != 0 && owner[1] >= 0) {
    file = open(fmt::format("/proc/{}/fd/{}", owner[0], owner[1]).c_str(), O_RDWR | O_CLOEXEC);
    data_ = map(file, bytes);
  }
  int mapped = data_ != nullptr;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &mapped, 1, MPI_INT, MPI_MIN, group.collectives), "MPI_Allreduce");
  mapped_by_all_ = mapped != 0;
  if (file >= 0) close(file);  // the mapping stays, and nobody needs the number any more
}

SharedSegment::~SharedSegment() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace phalanx::comm
