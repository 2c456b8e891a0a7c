#include "formats/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/error.h"
#include "core/files.h"

namespace phalanx::formats {
namespace {

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table = {};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0x82F63B78u : 0u);
    table[i] = value;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = make_table();

uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

template <typename T>
void append_raw(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Protobuf: a field is a varint of number * 8 + wire type, then the value.
enum Wire : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 128; value >>= 7) out.push_back(char(value | 128));
  out.push_back(char(value));
}

void append_tag(std::string& out, uint64_t field, Wire wire) {
  append_varint(out, field << 3 | wire);
}

void append_bytes(std::string& out, uint64_t field, std::string_view bytes) {
  append_tag(out, field, kBytes);
  append_varint(out, bytes.size());
  out.append(bytes);
}

std::string event_at(double wall_time_s) {
  std::string event;
  append_tag(event, 1, kFixed64);
  append_raw(event, wall_time_s);
  return event;
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string file_name() {
  static std::atomic<int> number = 0;
  std::array<char, 256> host = {};
  if (::gethostname(host.data(), host.size() - 1) != 0) std::strcpy(host.data(), "localhost");
  return fmt::format("events.out.tfevents.{:010}.{}.{}.{}", int64_t(now_s()), host.data(), ::getpid(),
                     number++);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char byte : bytes) crc = crc >> 8 ^ kCrcTable[(crc ^ uint8_t(byte)) & 255];
  return ~crc;
}

TensorboardWriter::TensorboardWriter(const std::filesystem::path& folder) : path_(folder / file_name()) {
  core::make_directories(folder.string());
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0)
    core::fail(core::ExitCode::kStorage, "{}: cannot be created: {}", core::printable(path_.string(), 400),
               std::strerror(errno));
  std::string first = event_at(now_s());
  append_bytes(first, 3, "brain.Event:2");
  append_record(first);
  flush();
}

TensorboardWriter::~TensorboardWriter() {
  try {
    flush();
  } catch (const core::Error&) {  // a destructor has nobody to tell; flush() before is the way to know
  }
  ::close(fd_);
}

void TensorboardWriter::append_record(std::string_view event) {
  std::string length;
  append_raw(length, uint64_t(event.size()));
  pending_ += length;
  append_raw(pending_, masked_crc(length));
  pending_ += event;
  append_raw(pending_, masked_crc(event));
}

void TensorboardWriter::scalar(std::string_view tag, int64_t step, float value,
                               std::optional<double> wall_time_s) {
  std::string scalar, summary, event = event_at(wall_time_s.value_or(now_s()));
  append_bytes(scalar, 1, tag);
  append_tag(scalar, 2, kFixed32);
  append_raw(scalar, value);
  append_bytes(summary, 1, scalar);
  append_tag(event, 2, kVarint);
  append_varint(event, uint64_t(step));
  append_bytes(event, 5, summary);
  append_record(event);
}

void TensorboardWriter::flush() {
  std::string_view left = pending_;
  while (!left.empty()) {
    const ssize_t written = ::write(fd_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0)
      core::fail(core::ExitCode::kStorage, "{}: cannot be written: {}", core::printable(path_.string(), 400),
                 std::strerror(errno));
    left.remove_prefix(size_t(written));
  }
  pending_.clear();
}

}  // namespace phalanx::formats
