#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace phalanx::core {

/// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a counter-based
/// generator. The four words are a pure function of key and counter, so random numbers can be named by (seed,
/// stream, position) instead of drawn.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// 64 random bits named by (seed, stream, index).
uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t index);

/// Where `index` goes in a pseudo-random permutation of [0, size) named by (seed, stream): a six-round
/// Feistel network over the next even number of bits, walked until it falls inside (at most 4 tries on
/// average). O(1), no table.
uint64_t permute(uint64_t seed, uint64_t stream, uint64_t size, uint64_t index);

/// A number for a stream's name, "dropout", so that streams of different names are independent.
constexpr uint64_t stream_id(std::string_view name) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

/// The stream of part `a` of `stream`: substream(substream(stream_id("dropout"), step), layer).
uint64_t substream(uint64_t stream, uint64_t a);

double random_uniform(uint64_t seed, uint64_t stream, uint64_t index);  ///< [0, 1), a multiple of 2^-53
double random_normal(uint64_t seed, uint64_t stream,
                     uint64_t index);  ///< mean 0, variance 1 (Box-Muller in fp64)

}  // namespace phalanx::core
