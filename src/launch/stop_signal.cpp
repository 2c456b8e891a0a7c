#include "launch/stop_signal.h"

#include <signal.h>

namespace phalanx::launch {
namespace {

volatile sig_atomic_t requested = 0;

void request(int) {
  requested = 1;
}

}  // namespace

void install_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = request;
  action.sa_flags = SA_RESTART;
  for (int signal : {SIGUSR1, SIGTERM, SIGINT}) sigaction(signal, &action, nullptr);
}

bool stop_requested() {
  return requested != 0;
}

}  // namespace phalanx::launch
