#pragma once
#include <string>
#include <vector>

#include "pipeline/pipeline_file.h"

namespace phalanx::pipeline {

/// Where a stage stands, for the names of the stages that it refers to.
struct Scope {
  std::string group;  ///< the stage with `rounds` around it; empty: none
  int64_t round = 1;
  const std::vector<std::string>& names;             ///< of all stages, in order
  const std::map<std::string, int64_t>& num_rounds;  ///< by group
};

/// Replaces references in a stage's `tree` by the paths of results, each at its place in the file:
///
///     {from: STAGE}                     the result of an earlier stage: of this round if it is in the same
///     group; {from: GROUP/STAGE}               of the last round; {from: STAGE, round: N}           of round
///     N; {from: STAGE, rounds: all}        in a list: one entry for each round, up to this one; {previous:
///     STAGE, first: PATH}    of the round before; in the first round PATH, or another reference.
///
/// What is no path, names no earlier stage or is the result of another kind than the key takes goes to
/// `problems`.
/// @param earlier  the stages before this one. @param keys  the kind's own. @return indices of those it uses.
std::vector<size_t> resolve_references(core::YamlNode& tree, const std::vector<core::Field>& keys,
                                       const std::vector<Stage>& earlier, const Scope& scope,
                                       std::vector<core::Problem>& problems);

/// Is this node one of the above?
bool is_reference(const core::YamlNode& node);

}  // namespace phalanx::pipeline
