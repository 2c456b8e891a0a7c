#include "checkpoint/digest.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <new>
#include <utility>

namespace phalanx::checkpoint {

namespace {

Digest from_xxh(XXH128_hash_t hash) {
  return {.high = hash.high64, .low = hash.low64};
}

bool hex_half(std::string_view hex, uint64_t& value) {
  value = 0;
  for (const char c : hex) {
    if (c >= '0' && c <= '9') {
      value = value << 4 | static_cast<uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = value << 4 | static_cast<uint64_t>(c - 'a' + 10);
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

std::string to_hex(const Digest& digest) {
  return fmt::format("{:016x}{:016x}", digest.high, digest.low);
}

bool from_hex(std::string_view hex, Digest& digest) {
  return hex.size() == 32 && hex_half(hex.substr(0, 16), digest.high) && hex_half(hex.substr(16), digest.low);
}

Digest digest_of(const void* data, size_t size_bytes) {
  return from_xxh(XXH3_128bits(data, size_bytes));
}

DigestStream::DigestStream() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_);
}
DigestStream::~DigestStream() {
  XXH3_freeState(state_);
}
DigestStream::DigestStream(DigestStream&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
DigestStream& DigestStream::operator=(DigestStream&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}
void DigestStream::update(const void* data, size_t size_bytes) {
  XXH3_128bits_update(state_, data, size_bytes);
}
Digest DigestStream::finish() const {
  return from_xxh(XXH3_128bits_digest(state_));
}

Digest file_digest(const std::vector<Digest>& blocks) {
  DigestStream stream;
  for (const Digest& block : blocks) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, {.low64 = block.low, .high64 = block.high});
    stream.update(&canonical, sizeof canonical);
  }
  return stream.finish();
}

}  // namespace phalanx::checkpoint
