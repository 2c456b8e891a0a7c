#pragma once
#include <cstddef>

#include "comm/mpi_group.h"

namespace phalanx::comm {

/// Zeroed memory that all ranks of a group on one host have mapped. An anonymous file (memfd) of rank 0,
/// which the others open through /proc: unlike an MPI window or shm_open it has no name that a killed run
/// leaves behind, is not limited by the size of /dev/shm, and is unmapped without asking the other ranks.
/// Pages that nobody touches cost nothing.
class SharedSegment {
 public:
  SharedSegment(const MpiGroup& group, size_t bytes);  ///< collective
  ~SharedSegment();
  SharedSegment(const SharedSegment&) = delete;
  SharedSegment& operator=(const SharedSegment&) = delete;

  char* data() const { return data_; }
  /// False on every rank when one could not map it (containers that hide each other's /proc).
  bool mapped_by_all() const { return mapped_by_all_; }

 private:
  char* data_ = nullptr;
  size_t bytes_ = 0;
  bool mapped_by_all_ = false;
};

}  // namespace phalanx::comm
