#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace phalanx::core {

/// XXH3, seed 0: fast, not cryptographic. Equal on every machine.
uint64_t xxh3_64(std::span<const std::byte> bytes);
uint64_t xxh3_64(std::string_view text);

struct Hash128 {
  uint64_t high = 0;
  uint64_t low = 0;
  bool operator==(const Hash128&) const = default;
  std::string hex() const;  ///< 32 lower-case digits, as `xxh128sum` prints it
};
Hash128 xxh3_128(std::span<const std::byte> bytes);
Hash128 xxh3_128(std::string_view text);

/// The same hashes of bytes that arrive in parts; digest() may be asked at any time.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  void add(std::span<const std::byte> bytes);
  void add(std::string_view text);
  /// A length, then the text: fields added one after another cannot be mistaken for each other.
  void add_field(std::string_view text);
  void add_field(int64_t number);
  uint64_t digest_64() const;
  Hash128 digest_128() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// XXH3-128 of a whole file, read in parts of 1 MiB. @throws Error (kBadInput).
Hash128 hash_file(const std::string& path);

}  // namespace phalanx::core
