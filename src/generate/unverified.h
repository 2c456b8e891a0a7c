#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>

namespace phalanx::generate {

/// @throws core::Error (65) if `destination` exists and is not an empty folder.
void refuse_existing(const std::filesystem::path& destination);

/// Where an export stands until it was read back and compared: a hidden sibling of its destination. What is
/// not published is removed, as is what a killed process left there.
class Unverified {
 public:
  /// @param destination  a folder, or a file that ends in .gguf (as path() then does).
  /// @param is_first     of several ranks that write it: the others find what it has made. Every one of them
  /// removes what is not published.
  explicit Unverified(const std::filesystem::path& destination, bool is_first = true);
  ~Unverified();
  Unverified(const Unverified&) = delete;
  Unverified& operator=(const Unverified&) = delete;

  const std::filesystem::path& path() const { return path_; }

  /// Writes `verification` as verification.json into the folder (for a file: beside it, as
  /// NAME.gguf.verification.json) and moves the export to its destination.
  /// @throws core::Error kStorage.
  void publish(const nlohmann::json& verification);

 private:
  std::filesystem::path destination_, path_;
};

}  // namespace phalanx::generate
