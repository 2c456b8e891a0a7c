#pragma once
#include <functional>
#include <string>
#include <vector>

#include "label/answer_pair.h"

namespace phalanx::label {

/// Who scores answers before people see them, as a rule a reward model.
struct Judge {
  std::string id;  ///< another one for another judge: a hash of its files
  /// Score of the first answer less that of the second, of each pair.
  std::function<std::vector<double>(const std::vector<const AnswerPair*>&)> margins;
};

/// Fills in the margin of every pair. What the judge of this id has said is kept in the file `cache` and not
/// asked again; the judge is not asked at all where it has said everything.
/// @return how many pairs it was asked about. @throws core::Error (65) for a margin that is no finite number,
/// (74).
size_t score_pairs(std::vector<AnswerPair>& pairs, const Judge& judge, const std::string& cache);

}  // namespace phalanx::label
