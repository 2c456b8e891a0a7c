#include "reward/sandbox_filter.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace phalanx::reward {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "the sandbox knows the system calls of x86-64 and aarch64"
#endif

constexpr uint32_t kForbiddenCalls[] = {
    // Namespaces and mounts
    SYS_unshare, SYS_setns, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_fsopen, SYS_fsmount,
    SYS_fspick, SYS_open_tree, SYS_move_mount, SYS_mount_setattr,
    // Other processes
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, SYS_pidfd_getfd,
    // More of the kernel
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_io_uring_setup, SYS_io_uring_enter,
    SYS_io_uring_register, SYS_keyctl, SYS_add_key, SYS_request_key, SYS_init_module, SYS_finit_module,
    SYS_delete_module, SYS_kexec_load, SYS_open_by_handle_at, SYS_name_to_handle_at, SYS_fanotify_init,
    SYS_quotactl, SYS_syslog, SYS_acct, SYS_reboot, SYS_swapon, SYS_swapoff, SYS_settimeofday,
    SYS_clock_settime, SYS_clock_adjtime, SYS_adjtimex, SYS_personality};

constexpr uint32_t kNamespaceFlags =
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
constexpr uint32_t kForbid = SECCOMP_RET_ERRNO | EPERM;

sock_filter load(size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
}
sock_filter end(uint32_t what) {
  return BPF_STMT(BPF_RET | BPF_K, what);
}
/// Goes `then` or `otherwise` instructions further.
sock_filter if_equal(uint32_t value, uint8_t then, uint8_t otherwise) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise);
}
/// The lower half of an argument, which is all of a flag set or a family (little-endian).
size_t argument(size_t index) {
  return offsetof(seccomp_data, args) + index * sizeof(uint64_t);
}

std::vector<sock_filter> make_sandbox_filter() {
  std::vector<sock_filter> program = {load(offsetof(seccomp_data, arch)), if_equal(kArchitecture, 1, 0),
                                      end(SECCOMP_RET_KILL_PROCESS), load(offsetof(seccomp_data, nr))};
#if defined(__x86_64__)
  // The numbers of x32 are those of x86-64 and one bit.
  program.insert(program.end(),
                 {BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), end(SECCOMP_RET_KILL_PROCESS)});
#endif
  for (const uint32_t call : kForbiddenCalls)
    program.insert(program.end(), {if_equal(call, 0, 1), end(kForbid)});
  program.insert(program.end(), {if_equal(SYS_clone3, 0, 1), end(SECCOMP_RET_ERRNO | ENOSYS)});
  program.insert(program.end(), {if_equal(SYS_clone, 0, 4), load(argument(0)),
                                 BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kNamespaceFlags, 0, 1), end(kForbid),
                                 end(SECCOMP_RET_ALLOW)});
  // It would outlive a trainer that is killed.
  program.insert(program.end(), {if_equal(SYS_prctl, 0, 4), load(argument(0)),
                                 if_equal(PR_SET_PDEATHSIG, 0, 1), end(kForbid), end(SECCOMP_RET_ALLOW)});
  program.insert(program.end(), {if_equal(SYS_socket, 0, 6), load(argument(0)), if_equal(AF_UNIX, 2, 0),
                                 if_equal(AF_INET, 1, 0), if_equal(AF_INET6, 0, 1), end(SECCOMP_RET_ALLOW),
                                 end(kForbid), end(SECCOMP_RET_ALLOW)});
  return program;
}

}  // namespace

const sock_fprog& sandbox_filter() {
  static std::vector<sock_filter> instructions = make_sandbox_filter();
  static const sock_fprog program = {static_cast<uint16_t>(instructions.size()), instructions.data()};
  return program;
}

}  // namespace phalanx::reward
