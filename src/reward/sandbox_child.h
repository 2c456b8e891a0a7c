#pragma once
#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "reward/sandbox.h"

namespace phalanx::reward {

/// All that the new process needs; it shares our memory until it becomes the program.
struct ChildPlan {
  const char* const* argv;  ///< ends with a null pointer
  const char* const* environment;
  const std::vector<Sandbox::MountStep>* steps;
  const char* work_folder;  ///< where it starts
  int input, output, error_output;
  bool has_namespaces, has_user_namespace;
  uint32_t uid;  ///< to become, where there are namespaces
  char user_map[64], group_map[64], scratch_options[64];
  uint64_t cpu_s, memory_bytes;
  const sock_fprog* filter;           ///< of system calls, where there are namespaces
  const char* failed_step = nullptr;  ///< set by the child
  int error = 0;                      ///< likewise: errno
};

/// Starts it. @param pidfd  of the process, to wait for. @return its pid; -1 with plan.failed_step and error
/// set, and nothing left behind, if it did not get as far as the program.
pid_t start_child(ChildPlan& plan, int* pidfd);

}  // namespace phalanx::reward
