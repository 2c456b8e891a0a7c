#pragma once
#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

namespace phalanx::model {

/// Counter-based random numbers, Philox 4x32-10 (Salmon et al. 2011): a function of (seed, stream, index), with no state.
class Philox {
 public:
  Philox(uint64_t seed, uint64_t stream) : key_(seed), stream_(stream) {}

  /// Four independent 32-bit words.
  std::array<uint32_t, 4> words(uint64_t index) const {
    std::array<uint32_t, 4> c = {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                                 static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)};
    uint32_t k0 = static_cast<uint32_t>(key_), k1 = static_cast<uint32_t>(key_ >> 32);
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U) {
      const uint64_t p0 = uint64_t{0xD2511F53U} * c[0], p1 = uint64_t{0xCD9E8D57U} * c[2];
      c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
           static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    }
    return c;
  }

  /// Two numbers in [0, 1) with 53 random bits each.
  std::pair<double, double> uniform_pair(uint64_t index) const {
    const std::array<uint32_t, 4> w = words(index);
    return {to_unit(w[0], w[1]), to_unit(w[2], w[3])};
  }
  double uniform(uint64_t index) const { return uniform_pair(index).first; }

 private:
  static double to_unit(uint32_t high, uint32_t low) {
    return static_cast<double>(((uint64_t{high} << 32) | low) >> 11) * 0x1p-53;
  }
  uint64_t key_, stream_;
};

/// A name as a stream number (FNV-1a, 64 bits).
constexpr uint64_t hash_name(std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return hash;
}

}  // namespace phalanx::model
