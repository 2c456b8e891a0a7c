#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace phalanx::formats {

/// CRC-32C (Castagnoli), reflected polynomial 0x82F63B78: "123456789" gives 0xE3069283.
uint32_t crc32c(std::string_view bytes);

/// A TensorBoard event file of scalars: TFRecords of the protobuf message Event. Records are collected in
/// memory and appended by flush(); a crash loses what was not flushed and leaves whole records.
class TensorboardWriter {
 public:
  /// Opens FOLDER/events.out.tfevents.SECONDS.HOST.PID.NUMBER. @throws core::Error kStorage.
  explicit TensorboardWriter(const std::filesystem::path& folder);
  ~TensorboardWriter();  ///< flushes, ignoring errors
  TensorboardWriter(const TensorboardWriter&) = delete;
  TensorboardWriter& operator=(const TensorboardWriter&) = delete;

  /// `wall_time_s` is in seconds since 1970; absent: now.
  void scalar(std::string_view tag, int64_t step, float value, std::optional<double> wall_time_s = {});
  void flush();  ///< @throws core::Error kStorage

  const std::filesystem::path& path() const { return path_; }

 private:
  void append_record(std::string_view event);

  std::filesystem::path path_;
  std::string pending_;
  int fd_ = -1;
};

}  // namespace phalanx::formats
