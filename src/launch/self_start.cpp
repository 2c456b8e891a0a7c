#include "launch/self_start.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "launch/command_line.h"

namespace phalanx::launch {
namespace {

std::atomic<pid_t> launcher_pid{0};
std::atomic<int> num_interrupts{0};

void pass_on(int signal) {
  const int saved = errno;
  const pid_t pid = launcher_pid.load();
  const bool again = num_interrupts.fetch_add(1) > 0 && signal == SIGINT;
  if (pid > 0) kill(pid, again ? SIGTERM : SIGUSR1);
  errno = saved;
}

void install(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  for (int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
}

std::vector<std::string> mpirun_command(int num_ranks) {
  std::vector<std::string> words = {
      "mpirun", "-n", std::to_string(num_ranks), "--quiet", "--oversubscribe", "--bind-to", "none"};
  if (static_cast<unsigned>(num_ranks) > std::thread::hardware_concurrency()) {
    words.insert(words.end(), {"--mca", "mpi_yield_when_idle", "1"});
  }
  return words;
}

std::vector<std::string> srun_command(int num_ranks) {
  return {"srun", "--mpi=pmix", "-n", std::to_string(num_ranks)};
}

std::vector<std::string> launcher_command(int num_ranks) {
  std::vector<std::string> words =
      environment("SLURM_JOB_ID") ? srun_command(num_ranks) : mpirun_command(num_ranks);
  words.push_back(program_path());
  words.insert(words.end(), command_line().begin() + 1, command_line().end());
  return words;
}

[[noreturn]] void become(const std::vector<std::string>& words) {
  // Should the parent be killed outright, the ranks save and end as if it had been asked to stop.
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

int start_ranks(int num_ranks) {
  const std::vector<std::string> words = launcher_command(num_ranks);
  install(pass_on);
  const pid_t pid = fork();
  if (pid < 0) core::fail(core::ExitCode::kBug, "cannot start {}: {}", words.front(), strerror(errno));
  if (pid == 0) become(words);
  launcher_pid = pid;
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return exit_code(status);
}

}  // namespace phalanx::launch
