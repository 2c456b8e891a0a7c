#include "reward/sandbox_child.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

/// The code of the new process runs in our memory and on a stack of its own, and a sanitizer knows neither.
#define PHALANX_CHILD __attribute__((no_sanitize("address", "undefined")))

namespace phalanx::reward {
namespace {

constexpr size_t kChildStackBytes = 256 << 10;

/// Only system calls from here to `become_program`: no allocation, no lock, nothing that another thread of
/// ours may be in the middle of.
[[noreturn]] PHALANX_CHILD void give_up(ChildPlan& plan, const char* step) {
  plan.error = errno;
  plan.failed_step = step;
  _exit(127);
}

PHALANX_CHILD void check_call(ChildPlan& plan, long result, const char* step) {
  if (result < 0) give_up(plan, step);
}

PHALANX_CHILD void write_text(ChildPlan& plan, const char* path, const char* text) {
  const int file = open(path, O_WRONLY | O_CLOEXEC);
  check_call(plan, file, path);
  check_call(plan, write(file, text, strlen(text)), path);
  close(file);
}

PHALANX_CHILD void restrict_mount(ChildPlan& plan, const char* path, unsigned flags, uint64_t attributes) {
  mount_attr attr = {};
  attr.attr_set = attributes;
  check_call(plan, mount_setattr(AT_FDCWD, path, flags, &attr, sizeof attr), "mount_setattr");
}

PHALANX_CHILD void do_step(ChildPlan& plan, const Sandbox::MountStep& step) {
  using Kind = Sandbox::MountStep::Kind;
  const char *from = step.from.c_str(), *to = step.to.c_str();
  switch (step.kind) {
    case Kind::kDirectory:
      if (mkdir(to, 0755) < 0 && errno != EEXIST) give_up(plan, to);
      return;
    case Kind::kFile: {
      const int file = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
      check_call(plan, file, to);
      close(file);
      return;
    }
    case Kind::kLink:
      return check_call(plan, symlink(from, to), to);
    case Kind::kBind:
    case Kind::kDevice: {
      check_call(plan, mount(from, to, nullptr, MS_BIND | MS_REC, nullptr), from);
      const uint64_t device = step.kind == Kind::kDevice ? 0 : MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY;
      return restrict_mount(plan, to, AT_RECURSIVE, MOUNT_ATTR_NOSUID | device);
    }
    case Kind::kScratch:
      return check_call(plan, mount("tmpfs", to, "tmpfs", MS_NOSUID | MS_NODEV, plan.scratch_options),
                        "scratch folder");
  }
}

/// Builds the new root under /proc, which every system has and the program shall not see, and goes there.
PHALANX_CHILD void enter_root(ChildPlan& plan) {
  check_call(plan, mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "private mounts");
  check_call(plan, mount("tmpfs", "/proc", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755"), "new root");
  for (const Sandbox::MountStep& step : *plan.steps) do_step(plan, step);
  check_call(plan, chdir("/proc"), "new root");
  check_call(plan, syscall(SYS_pivot_root, ".", "."), "pivot_root");
  check_call(plan, umount2(".", MNT_DETACH), "old root");
  restrict_mount(plan, "/", 0, MOUNT_ATTR_RDONLY);
}

/// By the system calls themselves: the C library would change all threads of the trainer.
PHALANX_CHILD void become_user(ChildPlan& plan) {
  const int dumpable = prctl(PR_GET_DUMPABLE);
  check_call(plan, syscall(SYS_setgroups, 0, nullptr), "setgroups");
  check_call(plan, syscall(SYS_setresgid, plan.uid, plan.uid, plan.uid), "setresgid");
  check_call(plan, syscall(SYS_setresuid, plan.uid, plan.uid, plan.uid), "setresuid");
  prctl(PR_SET_DUMPABLE, dumpable);  // the change of user cleared it in the memory that is still ours
}

PHALANX_CHILD void set_limit(ChildPlan& plan, int resource, uint64_t value) {
  const rlimit limit = {value, value};
  check_call(plan, syscall(SYS_prlimit64, 0, resource, &limit, nullptr), "setrlimit");
}

PHALANX_CHILD void set_limits(ChildPlan& plan) {
  set_limit(plan, RLIMIT_CPU, plan.cpu_s);
  set_limit(plan, RLIMIT_FSIZE, 16 << 20);
  set_limit(plan, RLIMIT_NOFILE, 64);
  set_limit(plan, RLIMIT_CORE, 0);
  set_limit(plan, RLIMIT_AS, plan.memory_bytes);
  // Without a user of its own, the processes that the user has anyway would count.
  if (plan.has_namespaces) set_limit(plan, RLIMIT_NPROC, 16);
}

PHALANX_CHILD void take_files(ChildPlan& plan) {
  // First away from 0..2, which one of them may have by itself.
  const int input = fcntl(plan.input, F_DUPFD_CLOEXEC, 10), output = fcntl(plan.output, F_DUPFD_CLOEXEC, 10),
            error_output = fcntl(plan.error_output, F_DUPFD_CLOEXEC, 10);
  check_call(plan, dup2(input, 0), "stdin");
  check_call(plan, dup2(output, 1), "stdout");
  check_call(plan, dup2(error_output, 2), "stderr");
  check_call(plan, syscall(SYS_close_range, 3, ~0U, 0), "close_range");
}

/// Should the trainer be killed, nobody is left who ends this process in time.
PHALANX_CHILD void die_with_parent(ChildPlan& plan) {
  check_call(plan, prctl(PR_SET_PDEATHSIG, SIGKILL), "signal at the parent's end");
  pollfd output = {1, POLLOUT, 0};  // has no reader any more if the parent died before
  if (poll(&output, 1, 0) > 0 && (output.revents & POLLERR) != 0) _exit(127);
}

PHALANX_CHILD void reset_signals(ChildPlan&) {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) sigaction(number, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

PHALANX_CHILD int become_program(void* argument) {
  ChildPlan& plan = *static_cast<ChildPlan*>(argument);
  reset_signals(plan);
  check_call(plan, setsid(), "setsid");
  if (plan.has_user_namespace) {
    write_text(plan, "/proc/self/setgroups", "deny");
    write_text(plan, "/proc/self/uid_map", plan.user_map);
    write_text(plan, "/proc/self/gid_map", plan.group_map);
  }
  take_files(plan);
  if (plan.has_namespaces) enter_root(plan);
  check_call(plan, chdir(plan.work_folder), plan.work_folder);
  if (plan.has_namespaces && !plan.has_user_namespace) become_user(plan);
  check_call(plan, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
  set_limits(plan);
  die_with_parent(plan);  // behind the change of user, which would undo it
  if (plan.has_namespaces)
    check_call(plan, syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, plan.filter), "seccomp filter");
  execve(plan.argv[0], const_cast<char* const*>(plan.argv), const_cast<char* const*>(plan.environment));
  give_up(plan, plan.argv[0]);
}

int clone_flags(const ChildPlan& plan) {
  int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
  if (plan.has_namespaces) flags |= CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  if (plan.has_user_namespace) flags |= CLONE_NEWUSER;
  return flags;
}

}  // namespace

pid_t start_child(ChildPlan& plan, int* pidfd) {
  void* stack =
      mmap(nullptr, kChildStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) {
    plan.failed_step = "stack";
    plan.error = errno;
    return -1;
  }
  // No handler of ours may run in the child while it shares our memory.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  const pid_t pid =
      clone(become_program, static_cast<char*>(stack) + kChildStackBytes, clone_flags(plan), &plan, pidfd);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  munmap(stack, kChildStackBytes);  // it is the program by now, or dead
  if (pid < 0) {
    plan.failed_step = "clone";
    plan.error = error;
    return -1;
  }
  if (plan.failed_step == nullptr) return pid;
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  close(*pidfd);
  return -1;
}

}  // namespace phalanx::reward
