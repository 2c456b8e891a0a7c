#pragma once
#include <string>
#include <vector>

namespace phalanx::launch {

struct VerifyMeshArguments {
  std::string config;
  std::vector<std::string> meshes;  ///< "dp=2,tp=2,zero=3"; none: all feasible ones of 2 .. max_ranks ranks
  int max_ranks = 4;
  int steps = 2;
  std::vector<std::string> sets;
};

/// `phalanx verify mesh`. Runs the first steps of CONFIG on one rank and on the meshes, threads for ranks, in
/// fp64 and in the config's precision. Exit 0, or 70 if a mesh is beyond the bound.
int run_verify_mesh(const VerifyMeshArguments& arguments);

}  // namespace phalanx::launch
