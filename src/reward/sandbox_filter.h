#pragma once
#include <linux/filter.h>

namespace phalanx::reward {

/// A seccomp filter for a sandboxed program. Forbidden (EPERM) is what namespaces do not hold back, or what
/// opens more of the kernel than a verifier needs: new namespaces and mounts, tracing and memory of other
/// processes, a life beyond that of the trainer (PR_SET_PDEATHSIG), keys, BPF, performance counters,
/// io_uring, modules, clocks, file handles, and sockets but Unix, IPv4 and IPv6 ones (vsock would reach the
/// host of a virtual machine). clone3 does not exist (ENOSYS: its flags cannot be looked at, and C libraries
/// go back to clone). A call by another architecture's numbers ends the program.
const sock_fprog& sandbox_filter();

}  // namespace phalanx::reward
