#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer_json_value.h"

namespace phalanx::data {

/// One decoder of tokenizer.json at work on a stream of tokens. It hands tokens on, changed, joined or
/// dropped; text that a later token can still change is held back, so that the same code serves whole texts
/// and live output.
class DecoderStage {
 public:
  virtual ~DecoderStage() = default;
  /// A part of a token; `ends` with its last one.
  using Next = std::function<void(std::string_view part, bool ends)>;

  virtual void push(std::string_view part, bool ends, const Next& next) = 0;
  virtual void finish(const Next& next) = 0;
  /// What a token stands for wherever it is, for displays and searches.
  virtual std::string plain(std::string token) const = 0;
  virtual std::unique_ptr<DecoderStage> fresh() const = 0;  ///< a copy at the beginning of a stream
};

/// Joins tokens back to text.
class Decoder {
 public:
  /// @param json  the "decoder" part of tokenizer.json; empty: tokens are joined with spaces, as in the
  /// reference.
  /// @throws TokenizerError kSchema for what we do not have.
  Decoder(const std::string& json, const std::string& source);

  /// One text in the making. Its decoder must outlive it.
  class Stream {
   public:
    explicit Stream(const Decoder& decoder);
    std::string push(std::string_view token);
    std::string finish();

   private:
    void run(size_t stage, std::string_view part, bool ends);

    std::vector<std::unique_ptr<DecoderStage>> stages_;
    std::string out_;
  };

  std::string plain(std::string token) const;
  /// Only ByteLevel: tokens are bytes, whatever stands beside them.
  bool is_byte_level() const { return is_byte_level_; }

 private:
  std::vector<std::unique_ptr<DecoderStage>> stages_;
  bool is_byte_level_ = false;
};

}  // namespace phalanx::data
