#include "formats/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "formats/format_error.h"

namespace phalanx::formats {
namespace {

// The mappings that the SIGBUS handler may repair. A fixed table of atomics, because a signal handler can neither lock
// nor allocate. Mappings beyond the table still work; they only lack the repair.
struct Guard {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<bool> damaged{false};
};
constexpr int kMaxGuards = 1024;
std::array<Guard, kMaxGuards> guards;
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
    const uintptr_t begin = guard.begin.load(), end = guard.end.load();
    if (address < begin || address >= end) continue;
    const uintptr_t page = address & ~(page_bytes - 1);
    guard.damaged = true;
    void* repaired = ::mmap(reinterpret_cast<void*>(page), page_bytes, PROT_READ,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (repaired != MAP_FAILED) return;
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

std::mutex guards_mutex;

int take_guard(std::span<const std::byte> bytes) {
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

void release_guard(int slot) {
  if (slot < 0) return;
  const std::scoped_lock lock(guards_mutex);
  guards[size_t(slot)].end = 0;
  guards[size_t(slot)].begin = 0;
}

struct Descriptor {
  int fd;
  ~Descriptor() { ::close(fd); }
};

}  // namespace

MappedFile::MappedFile(std::filesystem::path path) : path_(std::move(path)) {
  const Descriptor file{::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) fail_in(FormatErrorKind::kNotRegular, path_, "cannot be opened: {}", std::strerror(errno));
  struct stat status = {};
  if (::fstat(file.fd, &status) != 0 || !S_ISREG(status.st_mode))
    fail_in(FormatErrorKind::kNotRegular, path_, "is not a regular file; give the path of a file");
  if (status.st_size == 0) return;
  const auto size = size_t(status.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (address == MAP_FAILED)
    fail_in(FormatErrorKind::kNotRegular, path_, "cannot be mapped ({} bytes): {}", size, std::strerror(errno));
  bytes_ = {static_cast<const std::byte*>(address), size};
  guard_slot_ = take_guard(bytes_);
}

MappedFile::~MappedFile() {
  release_guard(guard_slot_);
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::check_unchanged() const {
  struct stat status = {};
  const bool damaged = guard_slot_ >= 0 && guards[size_t(guard_slot_)].damaged;
  const bool shrunk = ::stat(path_.c_str(), &status) == 0 && size_t(status.st_size) < bytes_.size();
  if (damaged || shrunk)
    fail_in(FormatErrorKind::kChanged, path_,
            "became shorter than its {} bytes while it was read; start again when nobody writes it", bytes_.size());
}

}  // namespace phalanx::formats
