#pragma once
#include <cstdint>
#include <string>

namespace phalanx::checkpoint {

/// Which process a lease names. Its fields say more than a pid, because pids are reused and mean nothing
/// elsewhere.
struct LeaseHolder {
  int64_t incarnation = 0;
  std::string host;
  std::string machine;  ///< boot id and pid namespace: where `pid` has a meaning
  int64_t pid = 0;
  std::string process_start;  ///< clock ticks after boot, from /proc/PID/stat
  std::string started;        ///< UTC, for people
  bool released = false;
};

/// The right to commit into one `checkpoints/` folder. It is written in checkpoints/LEASE with the number of
/// this life of the run, the incarnation, which is larger than any number used in this folder before.
///
/// A lease whose process has ended (or released it) is taken over. One held on another machine is taken over
/// as well: no one can look whether it lives, and if it does, it finds out at its next commit, because every
/// commit reads LEASE again.
class Lease {
 public:
  /// @throws core::Error (77) if a living process of this machine holds it; StorageError.
  static Lease take(const std::string& checkpoints);
  ~Lease();  ///< releases it; errors are ignored, the next life finds a dead pid
  Lease(Lease&& other) noexcept;
  Lease& operator=(Lease&&) = delete;

  int64_t incarnation() const { return holder_.incarnation; }
  /// What took this lease over when another holder (a living one of another machine, or an unreadable LEASE
  /// file) was named before; empty in the ordinary cases. For the log.
  const std::string& notice() const { return notice_; }
  /// @throws core::Error (77) if LEASE no longer names this incarnation.
  void check_still_held() const;

 private:
  Lease(std::string checkpoints, LeaseHolder holder, std::string notice);
  std::string checkpoints_;
  LeaseHolder holder_;
  std::string notice_;
};

}  // namespace phalanx::checkpoint
