#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace phalanx::data {

/// Walks over the fields of one protobuf message (wire format), safe on any bytes.
class ProtobufMessage {
 public:
  /// `bytes` and `name` (for messages: file and message) must outlive it.
  ProtobufMessage(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  /// Goes to the next field; false at the end. @throws TokenizerError kSchema for bytes that are no message.
  bool next();
  uint32_t field() const { return field_; }

  // The value of the field at hand; each fails when it was written as another kind.
  uint64_t integer() const;
  int32_t int32() const { return static_cast<int32_t>(integer()); }
  bool boolean() const { return integer() != 0; }
  float float32() const;
  std::string_view text() const;  ///< a string, bytes, or another message

 private:
  enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  uint64_t read_varint();
  std::string_view take(uint64_t count);
  void need(WireType type) const;
  [[noreturn]] void fail(std::string_view what) const;

  std::string_view bytes_;
  const std::string& name_;
  size_t at_ = 0;
  uint32_t field_ = 0, type_ = 0;
  uint64_t integer_ = 0;
  std::string_view content_ = {};
};

}  // namespace phalanx::data
