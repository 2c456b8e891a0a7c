#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct XXH3_state_s;

/// Checksums of checkpoints: XXH3, 128 bit (not cryptographic: it finds damage, not forgery).
namespace phalanx::checkpoint {

struct Digest {
  uint64_t high = 0, low = 0;
  bool operator==(const Digest&) const = default;
};

std::string to_hex(const Digest& digest);             ///< 32 lower-case digits
bool from_hex(std::string_view hex, Digest& digest);  ///< false unless exactly 32 lower-case digits

Digest digest_of(const void* data, size_t size_bytes);
inline Digest digest_of(std::string_view text) {
  return digest_of(text.data(), text.size());
}

/// The digest of bytes that arrive in parts.
class DigestStream {
 public:
  DigestStream();
  ~DigestStream();
  DigestStream(DigestStream&&) noexcept;
  DigestStream& operator=(DigestStream&&) noexcept;
  void update(const void* data, size_t size_bytes);
  Digest finish() const;

 private:
  XXH3_state_s* state_;
};

/// Files are hashed in blocks, so that blocks can be checked in parallel and damage has a place:
///     file digest = digest(digest(block 0) | digest(block 1) | ...), each as 16 bytes, high half first,
///     big-endian.
inline constexpr uint64_t kBlockBytes = uint64_t{1} << 20;
inline uint64_t num_blocks(uint64_t size_bytes) {
  return (size_bytes + kBlockBytes - 1) / kBlockBytes;
}
Digest file_digest(const std::vector<Digest>& blocks);

}  // namespace phalanx::checkpoint
