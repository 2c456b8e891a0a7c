#pragma once
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/packing.h"
#include "formats/guarded_file.h"

namespace phalanx::data {

/// Tokenised, masked and packed samples, ready to be mapped into memory.
struct TokenSetContent {
  uint64_t key = 0;  // hash of what it was made from
  std::vector<int32_t> ids;
  std::vector<uint8_t> mask;           // 1 where the token is a target
  Packing packing;                     // rows in source order
  std::vector<uint64_t> source_begin;  // [sources + 1] first row of each source
  nlohmann::ordered_json report;       // what was read and dropped, and one example: shown at start-up
};

/// A memory-mapped token set:
///
///     Header, then 64-byte aligned: ids int32[tokens], mask u8[tokens], segments[segments], row_begin
///     u64[rows + 1], source_begin u64[sources + 1], report (JSON text)
///
/// The header carries a key (what the set was made from) and the xxh3 of everything after it. Opening costs
/// one pass over the file for the hash, and nothing per record afterwards.
class TokenSet {
 public:
  /// Writes the file atomically. @throws core::Error (74).
  static void write(const std::string& path, const TokenSetContent& content);
  /// nullopt if the file is absent, was made from something else, or is damaged (`why` then says which).
  static std::optional<TokenSet> open(const std::string& path, uint64_t key, std::string& why);

  uint64_t num_rows() const { return row_begin_.size() - 1; }
  std::span<const Segment> row(uint64_t index) const;  ///< @throws as check_unchanged
  /// Is the segment (of a row of this set) followed by another piece of the same document?
  bool continues(const Segment& segment) const;
  std::span<const int32_t> ids() const { return ids_; }
  std::span<const uint8_t> mask() const { return mask_; }
  std::span<const uint64_t> source_begin() const { return source_begin_; }
  const nlohmann::ordered_json& report() const { return report_; }
  /// Call it after having read ids or masks: those of a file that was cut under the mapping are zeros.
  /// @throws formats::FormatError kChanged.
  void check_unchanged() const { file_->check_unchanged(); }

 private:
  explicit TokenSet(const std::string& path) : file_(std::make_unique<formats::GuardedFile>(path)) {}
  std::unique_ptr<formats::GuardedFile> file_;
  std::span<const int32_t> ids_;
  std::span<const uint8_t> mask_;
  std::span<const Segment> segments_;
  std::span<const uint64_t> row_begin_, source_begin_;
  nlohmann::ordered_json report_;
};

}  // namespace phalanx::data
