#include "formats/tensorboard.h"

#include <gtest/gtest.h>

#include "format_test_util.h"

namespace phalanx::formats {
namespace {

template <typename T>
T take(std::string_view& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes.remove_prefix(sizeof value);
  return value;
}

uint64_t take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<uint8_t>(bytes);
    value |= uint64_t(byte & 127) << shift;
    if (byte < 128) return value;
  }
}

std::string_view take_bytes(std::string_view& bytes) {
  const uint64_t size = take_varint(bytes);
  const std::string_view taken = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return taken;
}

uint32_t unmask(uint32_t masked) {
  const uint32_t rotated = masked - 0xA282EAD8u;
  return rotated >> 17 | rotated << 15;
}

std::vector<std::string_view> records(std::string_view file) {
  std::vector<std::string_view> out;
  while (!file.empty()) {
    const std::string_view length_bytes = file.substr(0, 8);
    const auto length = take<uint64_t>(file);
    EXPECT_EQ(unmask(take<uint32_t>(file)), crc32c(length_bytes));
    out.push_back(file.substr(0, length));
    file.remove_prefix(length);
    EXPECT_EQ(unmask(take<uint32_t>(file)), crc32c(out.back()));
  }
  return out;
}

TEST(Crc32c, HasTheCheckValue) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(Tensorboard, EventsReadBackByTheRulesOfTheFormat) {
  const TempFolder folder;
  TensorboardWriter writer(folder / "events");
  writer.scalar("train/loss", 300, 2.5f, 1234.5);
  writer.scalar("eval/é", int64_t{1} << 40, -1.0f);
  writer.flush();
  EXPECT_NE(writer.path().filename().string().find("events.out.tfevents."), std::string::npos);
  const std::string file = read_bytes(writer.path());
  const auto events = records(file);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_NE(events[0].find("brain.Event:2"), std::string_view::npos);
  std::string_view event = events[1];
  EXPECT_EQ(take<uint8_t>(event), 1 << 3 | 1);
  EXPECT_EQ(take<double>(event), 1234.5);
  EXPECT_EQ(take<uint8_t>(event), 2 << 3);
  EXPECT_EQ(take_varint(event), 300u);
  EXPECT_EQ(take<uint8_t>(event), 5 << 3 | 2);
  std::string_view summary = take_bytes(event);
  EXPECT_TRUE(event.empty());
  EXPECT_EQ(take<uint8_t>(summary), 1 << 3 | 2);
  std::string_view value = take_bytes(summary);
  EXPECT_EQ(take<uint8_t>(value), 1 << 3 | 2);
  EXPECT_EQ(take_bytes(value), "train/loss");
  EXPECT_EQ(take<uint8_t>(value), 2 << 3 | 5);
  EXPECT_EQ(take<float>(value), 2.5f);
}

TEST(Tensorboard, TwoWritersOfOneProcessGetTwoFiles) {
  const TempFolder folder;
  const TensorboardWriter first(folder.path()), second(folder.path());
  EXPECT_NE(first.path(), second.path());
}

TEST(Tensorboard, AFolderThatCannotBeMadeIsAStorageError) {
  const TempFolder folder;
  write_bytes(folder / "file", "x");
  EXPECT_THROW(TensorboardWriter writer(folder / "file"), core::Error);
}

}  // namespace
}  // namespace phalanx::formats
