#include "data/protobuf.h"

#include <cstring>

#include "data/tokenizer_error.h"

namespace phalanx::data {

void ProtobufMessage::fail(std::string_view what) const {
  fail_tokenizer(TokenizerErrorKind::kSchema,
                 "{}: {} at byte {} (field {}); the file is damaged or no protobuf", name_, what, at_,
                 field_);
}

uint64_t ProtobufMessage::read_varint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (at_ == bytes_.size()) fail("a number is cut off");
    const auto byte = static_cast<uint8_t>(bytes_[at_++]);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  fail("a number has more than 10 bytes");
}

std::string_view ProtobufMessage::take(uint64_t count) {
  if (count > bytes_.size() - at_) fail("a value reaches beyond the end");
  const std::string_view part = bytes_.substr(at_, count);
  at_ += count;
  return part;
}

bool ProtobufMessage::next() {
  if (at_ == bytes_.size()) return false;
  const uint64_t key = read_varint();
  field_ = static_cast<uint32_t>(key >> 3);
  type_ = static_cast<uint32_t>(key & 7);
  if (field_ == 0 || key >> 32 != 0) fail("a field has no valid number");
  switch (type_) {
    case kVarint:
      integer_ = read_varint();
      return true;
    case kFixed64:
      content_ = take(8);
      return true;
    case kFixed32:
      content_ = take(4);
      return true;
    case kBytes:
      content_ = take(read_varint());
      return true;
    default:
      fail("an unknown kind of value stands");
  }
}

void ProtobufMessage::need(WireType type) const {
  if (type_ != type) fail("a value is of another kind than its field");
}

uint64_t ProtobufMessage::integer() const {
  need(kVarint);
  return integer_;
}

float ProtobufMessage::float32() const {
  need(kFixed32);
  float value;
  std::memcpy(&value, content_.data(), 4);
  return value;
}

std::string_view ProtobufMessage::text() const {
  need(kBytes);
  return content_;
}

}  // namespace phalanx::data
