#pragma once
#include <array>
#include <cstdint>

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

/// Element `index` of the permutation of [0, size) of (seed, stream), without keeping the object.
uint64_t permute(uint64_t seed, uint64_t stream, uint64_t size, uint64_t index);

}  // namespace phalanx::core
