#include "checkpoint/lease.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <utility>

#include "checkpoint/folder.h"
#include "checkpoint/storage.h"
#include "core/error.h"

namespace phalanx::checkpoint {

namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr std::string_view kLeaseName = "LEASE";
constexpr uint64_t kMaxLeaseBytes = 64 * 1024;

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

std::string machine_id() {
  struct stat status {};
  ::stat("/proc/self/ns/pid", &status);
  return fmt::format("{}/{}", first_line("/proc/sys/kernel/random/boot_id"), status.st_ino);
}

/// Fields 3 (state) and 22 (start time) of /proc/PID/stat; the name before them may hold spaces and brackets.
struct Process {
  char state;
  std::string start;
};
std::optional<Process> find_process(int64_t pid) {
  const std::string line = first_line(fmt::format("/proc/{}/stat", pid));
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(name_end + 1));
  Process process{};
  fields >> process.state;
  for (int field = 4; field <= 22; ++field) fields >> process.start;
  return process;
}

bool is_alive(const LeaseHolder& holder) {
  const auto process = find_process(holder.pid);
  return process && process->state != 'Z' && process->state != 'X' && process->start == holder.process_start;
}

LeaseHolder this_process(int64_t incarnation) {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  const auto process = find_process(::getpid());
  return {
      .incarnation = incarnation,
      .host = host_name(),
      .machine = machine_id(),
      .pid = ::getpid(),
      .process_start = process ? process->start : "",
      .started = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(now))),
      .released = false};
}

std::string to_text(const LeaseHolder& holder) {
  return OrderedJson{{"incarnation", holder.incarnation},
                     {"host", holder.host},
                     {"pid", holder.pid},
                     {"started", holder.started},
                     {"machine", holder.machine},
                     {"process_start", holder.process_start},
                     {"released", holder.released}}
             .dump(1) +
         "\n";
}

/// Nothing if there is no such file or it cannot be understood.
std::optional<LeaseHolder> read_holder(const std::string& path) {
  if (!exists(path)) return std::nullopt;
  try {
    const OrderedJson json = OrderedJson::parse(read_whole_file(path, kMaxLeaseBytes));
    return LeaseHolder{.incarnation = json.at("incarnation").get<int64_t>(),
                       .host = json.at("host").get<std::string>(),
                       .machine = json.at("machine").get<std::string>(),
                       .pid = json.at("pid").get<int64_t>(),
                       .process_start = json.at("process_start").get<std::string>(),
                       .started = json.at("started").get<std::string>(),
                       .released = json.at("released").get<bool>()};
  } catch (const OrderedJson::exception&) {
    return std::nullopt;
  }
}

std::string claim_name(int64_t incarnation) {
  return fmt::format("{}.{}", kLeaseName, incarnation);
}

/// N of LEASE.N, or 0.
int64_t claim_number(std::string_view name) {
  int64_t number = 0;
  if (!name.starts_with("LEASE.")) return 0;
  name.remove_prefix(6);
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  return error == std::errc() && end == name.data() + name.size() ? number : 0;
}

int64_t largest_number_used(const std::string& checkpoints) {
  int64_t largest = 0;
  for (const Entry& entry : list(checkpoints)) largest = std::max(largest, claim_number(entry.name));
  for (const StepFolder& folder : scan(checkpoints)) largest = std::max(largest, folder.incarnation);
  if (const auto holder = read_holder(join(checkpoints, kLeaseName)))
    largest = std::max(largest, holder->incarnation);
  return largest;
}

/// Keeps two processes of one host from taking the lease at the same moment; the kernel drops it with the
/// process.
class TakingLock {
 public:
  explicit TakingLock(const std::string& folder)
      : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (descriptor_ < 0) throw StorageError(folder, "open", errno);
    ::flock(descriptor_, LOCK_EX);  // file systems without it still have O_EXCL on the claim
  }
  ~TakingLock() { ::close(descriptor_); }
  TakingLock(const TakingLock&) = delete;
  TakingLock& operator=(const TakingLock&) = delete;

 private:
  int descriptor_;
};

[[noreturn]] void refuse(const std::string& checkpoints, const LeaseHolder& holder) {
  core::fail(core::ExitCode::kSuperseded,
             "{}: in use by process {} on host {} since {} (incarnation {}); wait for it, stop it (kill "
             "-USR1 {} lets it save "
             "first), or choose another run.output_dir",
             checkpoints, holder.pid, core::printable(holder.host), core::printable(holder.started),
             holder.incarnation, holder.pid);
}

void remove_old_claims(const std::string& checkpoints, int64_t incarnation) {
  for (const Entry& entry : list(checkpoints)) {
    const int64_t number = claim_number(entry.name);
    if (number > 0 && number < incarnation) remove_file(join(checkpoints, entry.name));
  }
}

std::string takeover_notice(const std::string& path, const std::optional<LeaseHolder>& before,
                            const std::string& machine) {
  if (!before) return exists(path) ? fmt::format("{}: not readable, taken over", path) : "";
  if (before->released || before->machine == machine) return "";
  return fmt::format(
      "{}: taken over from process {} on host {} (incarnation {}); if that one still runs, it stops at its "
      "next commit",
      path, before->pid, core::printable(before->host), before->incarnation);
}

}  // namespace

Lease Lease::take(const std::string& checkpoints) {
  const TakingLock lock(checkpoints);
  const std::string path = join(checkpoints, kLeaseName);
  const auto before = read_holder(path);
  LeaseHolder mine = this_process(largest_number_used(checkpoints) + 1);
  if (before && !before->released && before->machine == mine.machine && is_alive(*before))
    refuse(checkpoints, *before);
  std::string notice = takeover_notice(path, before, mine.machine);
  const std::string claim = join(checkpoints, claim_name(mine.incarnation));
  write_new_file(claim, to_text(mine));  // fails if another host claims this number at the same moment
  rename_over(claim, path);
  sync_folder(checkpoints);
  remove_old_claims(checkpoints, mine.incarnation);
  return Lease(checkpoints, std::move(mine), std::move(notice));
}

Lease::Lease(std::string checkpoints, LeaseHolder holder, std::string notice)
    : checkpoints_(std::move(checkpoints)), holder_(std::move(holder)), notice_(std::move(notice)) {}

Lease::Lease(Lease&& other) noexcept
    : checkpoints_(std::exchange(other.checkpoints_, {})), holder_(other.holder_), notice_(other.notice_) {}

Lease::~Lease() {
  if (checkpoints_.empty()) return;
  try {
    const TakingLock lock(checkpoints_);
    const std::string path = join(checkpoints_, kLeaseName);
    const auto now = read_holder(path);
    if (!now || now->incarnation != holder_.incarnation) return;
    holder_.released = true;
    const std::string claim = join(checkpoints_, claim_name(holder_.incarnation));
    write_new_file(claim, to_text(holder_));
    rename_over(claim, path);
  } catch (const std::exception&) {
  }
}

void Lease::check_still_held() const {
  const std::string path = join(checkpoints_, kLeaseName);
  const auto now = read_holder(path);
  if (now && now->incarnation == holder_.incarnation && now->machine == holder_.machine &&
      now->pid == holder_.pid)
    return;
  if (!now) {
    core::fail(core::ExitCode::kSuperseded,
               "{}: gone or not readable; this run (incarnation {}) may no longer commit here", path,
               holder_.incarnation);
  }
  core::fail(core::ExitCode::kSuperseded,
             "{}: incarnation {} (process {} on host {}) has taken over from this one ({}); nothing is "
             "written any more",
             path, now->incarnation, now->pid, core::printable(now->host), holder_.incarnation);
}

}  // namespace phalanx::checkpoint
