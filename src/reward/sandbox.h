#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/stop.h"

namespace phalanx::reward {

/// What a foreign program may use, for one run.
struct SandboxLimits {
  double timeout_s = 10;             ///< by the clock; also of processor time
  int64_t memory_bytes = 512 << 20;  ///< of address space, for each process
  int64_t max_output_bytes = 4096;
};

struct SandboxOptions {
  std::vector<std::string> command;        ///< program and arguments; no shell looks at them
  std::vector<std::string> readable = {};  ///< files and folders that it sees, besides those of `command`
  /// false: an own session, limits, an empty environment and closed files, but the file system, the network
  /// and the other processes of this user as they are.
  bool has_namespaces = true;
  SandboxLimits limits = {};
};

struct SandboxRun {
  std::string output;   ///< stdout
  std::string message;  ///< beginning of stderr
  std::string problem;  ///< empty: it ended by itself with exit code 0
};

/// Runs a program that may do anything. For each run the kernel makes a new
///  - mount namespace: /usr and what the program needs, read-only; no /proc, no /home, no folder of this run;
///    64 MiB of /tmp, where it starts, which end with it;
///  - PID namespace: it sees no other process, and with its first process all of its processes die;
///  - network, IPC and host-name namespace: no network, not even loopback to this machine;
///  - user: another than ours where we are root, else one without rights in a user namespace;
/// and sets limits (processor time, address space, 16 MiB files, 64 open files, 16 processes, no core), an
/// environment of PATH, LANG and HOME alone, no open file but stdin, stdout and stderr, no_new_privs, and a
/// filter of system calls (sandbox_filter.h). It does not outlive this process.
///
/// It is started as vfork does, without copying our page tables: MPI and registered memory see no fork. Safe
/// to call from several threads.
class Sandbox {
 public:
  /// Runs `true` once, to see that this machine allows it.
  /// @throws core::Error (78): a file of the command that is missing, or no namespaces.
  explicit Sandbox(SandboxOptions options);

  /// @param input  its stdin. Never throws for anything that the program does.
  /// @throws core::Stopped when `stop` asks for it; the program has been killed by then.
  SandboxRun run(std::string_view input, const core::StopRequest& stop = {}) const;

  /// One thing that is done to build its file system, in order.
  struct MountStep {
    enum class Kind { kDirectory, kFile, kLink, kBind, kDevice, kScratch };
    Kind kind;
    std::string from, to;
  };

 private:
  void find_command();
  void plan_mounts();
  void plan_readable(const std::string& path);
  void probe();

  SandboxOptions options_;
  std::vector<std::string> command_;  // with absolute paths
  std::vector<std::string> own_files_;
  std::vector<MountStep> steps_;
  bool has_user_namespace_ = false;  // else another user, which takes root
};

}  // namespace phalanx::reward
