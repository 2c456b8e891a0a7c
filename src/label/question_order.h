#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "label/answer_pair.h"

namespace phalanx::label {

struct OrderOptions {
  std::string order = "file";  ///< file | random | uncertain
  uint64_t seed = 0;
};

/// In which order a labeller sees the questions: as in the file; drawn by (seed, labeller); or those first
/// whose margin is closest to 0, where the judge that scored them is least sure, equal ones as in the file.
/// A pure function of its arguments, so that a labeller goes on after a restart.
/// @return  indices into `pairs`.
std::vector<size_t> question_order(const std::vector<AnswerPair>& pairs, const std::string& labeller,
                                   const OrderOptions& options);

/// Does the first answer stand left? A fair coin named by (seed, pair, labeller).
bool is_first_left(const std::string& pair_id, const std::string& labeller, uint64_t seed);

}  // namespace phalanx::label
