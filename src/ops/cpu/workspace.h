#pragma once
#include <cstddef>

/// Scratch memory that stays allocated between calls: the first touch of a fresh page costs four times a
/// rewrite.
namespace phalanx::ops::cpu {

enum class Scratch { kPackA, kPackB, kPartial, kLogits, kAttention, kStatistics, kCount };

/// At least `bytes`, 64-byte aligned, of the calling thread's buffer `which`; grows, never shrinks by itself.
/// The content is undefined; the pointer is valid until this thread asks for the same buffer again.
void* scratch(Scratch which, size_t bytes);

/// Frees the calling thread's buffers (worker threads keep theirs).
void release_scratch();
/// Bytes held by all threads now.
size_t scratch_bytes();

/// Asks malloc to keep freed blocks instead of returning pages to the system after every step (process-wide;
/// called once by the program before training). Costs nothing but the address space already used at the peak.
void keep_freed_memory();

}  // namespace phalanx::ops::cpu
