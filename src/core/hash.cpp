#include "core/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <new>

#include "core/files.h"

namespace phalanx::core {

namespace {

Hash128 from_xxhash(const XXH128_hash_t& hash) {
  return {hash.high64, hash.low64};
}

}  // namespace

uint64_t xxh3_64(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}
uint64_t xxh3_64(std::string_view text) {
  return XXH3_64bits(text.data(), text.size());
}
Hash128 xxh3_128(std::span<const std::byte> bytes) {
  return from_xxhash(XXH3_128bits(bytes.data(), bytes.size()));
}
Hash128 xxh3_128(std::string_view text) {
  return from_xxhash(XXH3_128bits(text.data(), text.size()));
}

std::string Hash128::hex() const {
  return fmt::format("{:016x}{:016x}", high, low);
}

struct Hasher::State {
  State() : xxh(XXH3_createState()) {
    if (xxh == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(xxh);
  }
  ~State() { XXH3_freeState(xxh); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  XXH3_state_t* xxh;  // 64 and 128 bits share it
};

Hasher::Hasher() : state_(std::make_unique<State>()) {}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
}
void Hasher::add(std::string_view text) {
  XXH3_128bits_update(state_->xxh, text.data(), text.size());
}

void Hasher::add_field(std::string_view text) {
  add_field(static_cast<int64_t>(text.size()));
  add(text);
}

void Hasher::add_field(int64_t number) {
  XXH3_128bits_update(state_->xxh, &number, sizeof number);
}

uint64_t Hasher::digest_64() const {
  return XXH3_64bits_digest(state_->xxh);
}
Hash128 Hasher::digest_128() const {
  return from_xxhash(XXH3_128bits_digest(state_->xxh));
}

Hash128 hash_file(const std::string& path) {
  constexpr uint64_t kPart = 1 << 20;
  const MappedFile file(path);
  Hasher hasher;
  for (uint64_t offset = 0; offset < file.size(); offset += kPart) {
    const uint64_t size = std::min(kPart, file.size() - offset);
    hasher.add(file.bytes().subspan(offset, size));
    file.will_not_need(offset, size);  // hashing a large file must not fill this process's memory
  }
  return hasher.digest_128();
}

}  // namespace phalanx::core
