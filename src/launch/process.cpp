#include "launch/process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace phalanx::launch {
namespace {

std::atomic<pid_t> process_pid{0};
std::atomic<int> num_interrupts{0};
std::atomic<int> second_interrupt{SIGTERM};

void pass_on(int signal) {
  const int saved = errno;
  const pid_t pid = process_pid.load();
  const bool again = num_interrupts.fetch_add(1) > 0 && signal == SIGINT;
  if (pid > 0) kill(pid, again ? second_interrupt.load() : SIGUSR1);
  errno = saved;
}

void install(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  for (int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
}

[[noreturn]] void become(const std::vector<std::string>& words) {
  // Should the parent be killed outright, this ends as if it had been asked to stop.
  prctl(PR_SET_PDEATHSIG, SIGUSR1);
  setpgid(0, 0);  // a Ctrl-C of the terminal reaches only the parent, which turns it into SIGUSR1
  install(SIG_DFL);
  if (geteuid() == 0) {
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
  }
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  dprintf(STDERR_FILENO,
          "error: cannot start %s: %s; install Open MPI (Debian: openmpi-bin) or set parallel.dp: 1\n",
          arguments[0], strerror(errno));
  _exit(static_cast<int>(core::ExitCode::kBadConfig));
}

int exit_code(int status) {
  if (WIFSIGNALED(status)) return static_cast<int>(core::ExitCode::kStopped);
  const int code = WEXITSTATUS(status);
  const bool killed_from_outside = code == 1 || code == 110 || (code >= 129 && code <= 159) || code == 205;
  return killed_from_outside ? static_cast<int>(core::ExitCode::kStopped) : code;
}

}  // namespace

int run_process(const std::vector<std::string>& words, int on_second_interrupt) {
  second_interrupt = on_second_interrupt;
  install(pass_on);
  const pid_t pid = fork();
  if (pid < 0) core::fail(core::ExitCode::kBug, "cannot start {}: {}", words.front(), strerror(errno));
  if (pid == 0) become(words);
  process_pid = pid;
  if (num_interrupts > 0) kill(pid, SIGUSR1);  // one that came before there was a process to pass it to
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  process_pid = 0;
  return exit_code(status);
}

bool was_interrupted() {
  return num_interrupts > 0;
}

}  // namespace phalanx::launch
