#pragma once
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tensor_spec.h"

namespace phalanx::formats {

/// Which of several ranks that write the same files together this one is. All call the same constructors and
/// finish() in the same order; an error on one of them must end the others (comm::Communicator::abort).
struct WriterRank {
  int rank = 0, size = 1;
  std::function<void()> barrier = [] {};

  bool is_first() const { return rank == 0; }
  /// The first rank makes the files (space reserved, headers written) before the others open them.
  void wait_before_opening() const {
    if (!is_first()) barrier();
  }
  void let_others_open() const {
    if (is_first()) barrier();
  }
};

/// The tensors that one rank writes: neighbours in the order of the files, about as many bytes as every other
/// rank's. The bytes of a file do not depend on the number of ranks.
class WriterShare {
 public:
  WriterShare(const std::vector<TensorSpec>& tensors, const WriterRank& rank);
  bool contains(std::string_view name) const { return is_all_ || names_.contains(name); }

 private:
  bool is_all_;
  std::set<std::string, std::less<>> names_;
};

}  // namespace phalanx::formats
