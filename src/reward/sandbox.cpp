#include "reward/sandbox.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/error.h"
#include "reward/sandbox_child.h"
#include "reward/sandbox_filter.h"

namespace phalanx::reward {
namespace {

namespace fs = std::filesystem;
using Kind = Sandbox::MountStep::Kind;

constexpr std::array<const char*, 3> kProgramFolders = {"/usr/local/bin", "/usr/bin", "/bin"};
constexpr std::array<const char*, 7> kSystemFolders = {"/usr",   "/bin",   "/sbin",  "/lib",
                                                       "/lib32", "/lib64", "/libx32"};
constexpr std::array<const char*, 3> kSystemFiles = {"/etc/ld.so.cache", "/etc/alternatives",
                                                     "/etc/localtime"};
constexpr std::array<const char*, 4> kDevices = {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"};
constexpr const char* kNewRoot = "/proc";
constexpr const char* kEnvironment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/tmp",
                                        nullptr};
constexpr int64_t kMaxStderrBytes = 1 << 20;
constexpr size_t kKeptStderrBytes = 300;

class OwnedFile {
 public:
  OwnedFile() = default;
  explicit OwnedFile(int number) : number_(number) {}
  ~OwnedFile() { reset(); }
  OwnedFile(const OwnedFile&) = delete;
  OwnedFile& operator=(const OwnedFile&) = delete;
  void reset(int number = -1) {
    if (number_ >= 0) ::close(number_);
    number_ = number;
  }
  int number() const { return number_; }

 private:
  int number_ = -1;
};

struct OwnedPipe {
  OwnedFile read, write;
  bool open() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) return false;
    read.reset(ends[0]);
    write.reset(ends[1]);
    return ::fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0;
  }
};

/// A folder that is there during a run without namespaces.
class WorkFolder {
 public:
  bool make() {
    std::string name = (std::filesystem::temp_directory_path() / "phalanx-program-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) return false;
    path_ = name;
    return true;
  }
  ~WorkFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// The input as a file without a name: the program can neither block us nor be blocked by us.
bool fill(OwnedFile& file, std::string_view text) {
  file.reset(::memfd_create("input", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  while (!text.empty()) {
    const ssize_t written = ::write(file.number(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return ::lseek(file.number(), 0, SEEK_SET) == 0 &&
         ::fcntl(file.number(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0;
}

/// A user number that nothing else on this machine has at the same time, most likely: processes are counted
/// by user.
uint32_t fresh_uid() {
  static std::atomic<uint32_t> next = static_cast<uint32_t>(::getpid()) * 64;
  return 40000 + next++ % 20000;
}

std::string printable_exit(int status) {
  if (WIFSIGNALED(status)) return fmt::format("was killed by signal {}", WTERMSIG(status));
  return WEXITSTATUS(status) == 0 ? "" : fmt::format("ended with exit code {}", WEXITSTATUS(status));
}

/// Reads what two pipes hold until they end, the process ends, or a limit is reached.
class Watch {
 public:
  Watch(pid_t pid, int pidfd, bool is_group, const SandboxLimits& limits, const core::StopRequest& stop)
      : pid_(pid), pidfd_(pidfd), is_group_(is_group), limits_(limits), stop_(stop) {}

  SandboxRun watch(OwnedFile& output, OwnedFile& error_output) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(limits_.timeout_s);
    bool is_stopped = false;
    while (run_.problem.empty()) {
      is_stopped = core::is_requested(stop_);
      if (is_stopped) break;
      const double left_s =
          std::chrono::duration<double>(deadline - std::chrono::steady_clock::now()).count();
      if (left_s <= 0) {
        run_.problem = fmt::format("took more than {} s", limits_.timeout_s);
        break;
      }
      pollfd files[] = {
          {output.number(), POLLIN, 0}, {error_output.number(), POLLIN, 0}, {pidfd_, POLLIN, 0}};
      const double wait_s = std::min(left_s, stop_ ? core::kStopPollSeconds : 3600.0);
      if (::poll(files, 3, static_cast<int>(wait_s * 1000) + 1) < 0) continue;  // EINTR
      const bool has_ended = files[2].revents != 0;
      if (has_ended) kill_all();  // what it left behind must not write on
      read_some(output, error_output, has_ended);
      if (has_ended) break;
    }
    kill_all();
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    if (is_stopped) throw core::Stopped();
    if (run_.problem.empty()) run_.problem = printable_exit(status);
    run_.message = core::printable(run_.message, kKeptStderrBytes);
    return std::move(run_);
  }

 private:
  /// Not waited for yet, so that the number is still its own.
  void kill_all() const {
    if (is_group_) ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
  }

  void read_some(OwnedFile& output, OwnedFile& error_output, bool to_the_end) {
    char buffer[16 << 10];
    for (OwnedFile* file : {&output, &error_output}) {
      const bool is_output = file == &output;
      do {
        if (file->number() < 0) break;
        const ssize_t count = ::read(file->number(), buffer, sizeof buffer);
        if (count < 0) break;
        if (count == 0) file->reset();
        take({buffer, static_cast<size_t>(count)}, is_output);
      } while (to_the_end && run_.problem.empty());
    }
  }

  void take(std::string_view bytes, bool is_output) {
    if (is_output) {
      run_.output += bytes;
      if (static_cast<int64_t>(run_.output.size()) > limits_.max_output_bytes)
        run_.problem = fmt::format("wrote more than {} bytes", limits_.max_output_bytes);
      return;
    }
    stderr_bytes_ += static_cast<int64_t>(bytes.size());
    run_.message += bytes.substr(0, kKeptStderrBytes - std::min(kKeptStderrBytes, run_.message.size()));
    if (stderr_bytes_ > kMaxStderrBytes)
      run_.problem = fmt::format("wrote more than {} bytes to stderr", kMaxStderrBytes);
  }

  pid_t pid_;
  int pidfd_;
  bool is_group_;
  const SandboxLimits& limits_;
  const core::StopRequest& stop_;
  SandboxRun run_;
  int64_t stderr_bytes_ = 0;
};

bool is_below(const std::string& path, const std::string& folder) {
  return path == folder || path.starts_with(folder + "/");
}

}  // namespace

Sandbox::Sandbox(SandboxOptions options) : options_(std::move(options)) {
  find_command();
  if (!options_.has_namespaces) return;
  plan_mounts();
  probe();
}

void Sandbox::find_command() {
  if (options_.command.empty() || options_.command[0].empty())
    core::fail(core::ExitCode::kBadConfig,
               "reward.terms: program needs command, such as [python3, check.py]");
  command_ = options_.command;
  for (size_t i = 0; i < command_.size(); ++i) {
    std::error_code ignored;
    const bool is_name = i == 0 && command_[i].find('/') == std::string::npos;
    if (is_name || !fs::is_regular_file(command_[i], ignored)) continue;
    command_[i] = fs::absolute(command_[i]).lexically_normal();
    own_files_.push_back(command_[i]);
  }
  if (command_[0].find('/') == std::string::npos) {
    for (const char* folder : kProgramFolders) {
      const std::string path = fmt::format("{}/{}", folder, command_[0]);
      if (::access(path.c_str(), X_OK) != 0) continue;
      command_[0] = path;
      break;
    }
  }
  if (command_[0].find('/') == std::string::npos || ::access(command_[0].c_str(), X_OK) != 0) {
    core::fail(
        core::ExitCode::kBadConfig,
        "reward.terms: program: command: {} is not a program here; give its path, or the name of one in {}",
        core::printable(command_[0]), fmt::join(kProgramFolders, ", "));
  }
}

void Sandbox::plan_mounts() {
  const std::string root = kNewRoot;
  std::error_code ignored;
  for (const char* folder : {"/etc", "/dev", "/tmp"}) steps_.push_back({Kind::kDirectory, "", root + folder});
  steps_.push_back({Kind::kScratch, "", root + "/tmp"});
  for (const char* folder : kSystemFolders) {
    if (fs::is_symlink(folder, ignored)) {
      steps_.push_back({Kind::kLink, fs::read_symlink(folder, ignored).string(), root + folder});
    } else if (fs::is_directory(folder, ignored)) {
      steps_.push_back({Kind::kDirectory, "", root + folder});
      steps_.push_back({Kind::kBind, folder, root + folder});
    }
  }
  for (const char* path : kSystemFiles) {
    if (fs::exists(path, ignored)) plan_readable(path);
  }
  for (const char* path : kDevices) {
    if (!fs::exists(path, ignored)) continue;
    steps_.push_back({Kind::kFile, "", root + path});
    steps_.push_back({Kind::kDevice, path, root + path});
  }
  for (const std::string& path : options_.readable) {
    const std::string absolute = fs::absolute(path).lexically_normal();
    if (!fs::exists(absolute, ignored)) {
      core::fail(core::ExitCode::kBadConfig, "reward.terms: program: readable: {} does not exist",
                 core::printable(path));
    }
    plan_readable(absolute.ends_with('/') ? absolute.substr(0, absolute.size() - 1) : absolute);
  }
  for (const std::string& path : own_files_) plan_readable(path);
}

void Sandbox::plan_readable(const std::string& path) {
  for (const char* folder : kSystemFolders) {
    if (is_below(path, folder)) return;  // it is there
  }
  if (path.empty() || is_below(path, "/proc") || is_below(path, "/dev") || path == "/tmp" || path == "/etc") {
    core::fail(
        core::ExitCode::kBadConfig,
        "reward.terms: program: readable: {} cannot be shown to a verifier; name the files that it needs",
        path.empty() ? "/" : path);
  }
  const std::string root = kNewRoot;
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
    steps_.push_back({Kind::kDirectory, "", root + path.substr(0, slash)});
  steps_.push_back({fs::is_directory(path) ? Kind::kDirectory : Kind::kFile, "", root + path});
  steps_.push_back({Kind::kBind, path, root + path});
}

void Sandbox::probe() {
  const std::vector<std::string> real = std::exchange(command_, {"/usr/bin/true"});
  std::string problems;
  for (const bool user_namespace : {false, true}) {
    if (!user_namespace && ::geteuid() != 0) continue;
    has_user_namespace_ = user_namespace;
    const SandboxRun result = run("");
    if (result.problem.empty()) {
      command_ = real;
      return;
    }
    problems += (problems.empty() ? "" : "; ") + result.problem;
  }
  core::fail(
      core::ExitCode::kBadConfig,
      "reward.terms: program: this machine allows no sandbox ({}); run where unprivileged user namespaces "
      "are on, or set sandbox: none to let the program see and do what you can",
      problems);
}

SandboxRun Sandbox::run(std::string_view input, const core::StopRequest& stop) const {
  OwnedFile stdin_file;
  OwnedPipe output, error_output;
  WorkFolder folder;
  if (!fill(stdin_file, input) || !output.open() || !error_output.open() ||
      (!options_.has_namespaces && !folder.make())) {
    return {.output = {},
            .message = {},
            .problem = fmt::format("could not be started: {}", std::strerror(errno))};
  }
  std::vector<const char*> argv;
  for (const std::string& word : command_) argv.push_back(word.c_str());
  argv.push_back(nullptr);
  ChildPlan plan = {};
  plan.argv = argv.data();
  plan.environment = kEnvironment;
  plan.steps = &steps_;
  plan.work_folder = options_.has_namespaces ? "/tmp" : folder.path().c_str();
  plan.input = stdin_file.number();
  plan.output = output.write.number();
  plan.error_output = error_output.write.number();
  plan.has_namespaces = options_.has_namespaces;
  plan.has_user_namespace = options_.has_namespaces && has_user_namespace_;
  plan.uid = has_user_namespace_ ? 65534 : fresh_uid();
  fmt::format_to_n(plan.user_map, sizeof plan.user_map - 1, "65534 {} 1", ::geteuid());
  fmt::format_to_n(plan.group_map, sizeof plan.group_map - 1, "65534 {} 1", ::getegid());
  fmt::format_to_n(plan.scratch_options, sizeof plan.scratch_options - 1, "size=64m,mode=700,uid={},gid={}",
                   plan.uid, plan.uid);
  plan.cpu_s = static_cast<uint64_t>(std::ceil(options_.limits.timeout_s));
  plan.memory_bytes = static_cast<uint64_t>(options_.limits.memory_bytes);
  plan.filter = &sandbox_filter();
  int pidfd = -1;
  const pid_t pid = start_child(plan, &pidfd);
  if (pid < 0) {
    return {
        .output = {},
        .message = {},
        .problem = fmt::format("could not be started: {}: {}", plan.failed_step, std::strerror(plan.error))};
  }
  const OwnedFile owned_pidfd(pidfd);
  output.write.reset();
  error_output.write.reset();
  return Watch(pid, pidfd, !options_.has_namespaces, options_.limits, stop)
      .watch(output.read, error_output.read);
}

}  // namespace phalanx::reward
