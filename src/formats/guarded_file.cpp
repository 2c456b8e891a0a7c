#include "formats/guarded_file.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>

#include "formats/format_error.h"

namespace phalanx::formats {
namespace {

// The mappings that the SIGBUS handler may repair. A fixed table of atomics, because a signal handler can
// neither lock nor allocate. Mappings beyond the table still work; they only lack the repair.
struct Guard {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<bool> damaged{false};
};
constexpr int kMaxGuards = 1024;
std::array<Guard, kMaxGuards> guards;
std::mutex guards_mutex;  // taking and releasing slots; the handler does without
struct sigaction previous_action;
uintptr_t page_bytes = 4096;  // the machine's, from install_bus_handler on

void pass_on(int signal, siginfo_t* info, void* context) {
  if (previous_action.sa_flags & SA_SIGINFO) return previous_action.sa_sigaction(signal, info, context);
  if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN)
    return previous_action.sa_handler(signal);
  ::signal(SIGBUS, SIG_DFL);  // the faulting instruction runs again and ends the process as it would have
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Guard& guard : guards) {
    if (address < guard.begin.load() || address >= guard.end.load()) continue;
    guard.damaged = true;
    void* const page = reinterpret_cast<void*>(address & ~(page_bytes - 1));
    if (::mmap(page, page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
      return;
  }
  pass_on(signal, info, context);
}

void install_bus_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_bytes = uintptr_t(::sysconf(_SC_PAGESIZE));
    struct sigaction action = {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &previous_action);
  });
}

int take_guard(std::span<const std::byte> bytes) {
  if (bytes.empty()) return -1;
  install_bus_handler();
  const std::scoped_lock lock(guards_mutex);
  for (int slot = 0; slot < kMaxGuards; ++slot) {
    Guard& guard = guards[size_t(slot)];
    if (guard.end != 0) continue;
    guard.damaged = false;
    guard.begin = reinterpret_cast<uintptr_t>(bytes.data());
    guard.end = guard.begin + bytes.size();
    return slot;
  }
  return -1;
}

core::MappedFile open_mapping(const std::filesystem::path& path) {
  try {
    return core::MappedFile(path.string());
  } catch (const core::Error& error) {
    throw FormatError(FormatErrorKind::kNotRegular, path.string(), FormatError::kNowhere, error.what());
  }
}

}  // namespace

GuardedFile::GuardedFile(std::filesystem::path path)
    : path_(std::move(path)), file_(open_mapping(path_)), guard_slot_(take_guard(file_.bytes())) {}

GuardedFile::~GuardedFile() {
  if (guard_slot_ < 0) return;
  const std::scoped_lock lock(guards_mutex);
  guards[size_t(guard_slot_)].end = 0;
  guards[size_t(guard_slot_)].begin = 0;
}

void GuardedFile::check_unchanged() const {
  try {
    file_.check_unchanged();
  } catch (const core::Error& error) {
    throw FormatError(FormatErrorKind::kChanged, path_.string(), FormatError::kNowhere, error.what());
  }
  if (guard_slot_ >= 0 && guards[size_t(guard_slot_)].damaged)
    fail_in(FormatErrorKind::kChanged, path_,
            "became shorter than its {} bytes while it was read; start again when nobody writes it",
            bytes().size());
}

}  // namespace phalanx::formats
