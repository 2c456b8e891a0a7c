#pragma once
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "formats/hf_config.h"

// A GGUF file of architecture "llama" seen as a Hugging Face folder, so that model/ loads both in one way.
namespace phalanx::formats {

/// The architecture and sizes as a config.json: both spellings are not needed, v4's are used.
/// @throws FormatError for another architecture, a missing or impossible value, experts, or a rotary scaling
/// that is neither none, linear, yarn nor Llama 3's.
nlohmann::json hf_config_of_llama_gguf(const GgufFile& file);

/// The weights under Hugging Face's names, with the rows of q and k in Hugging Face's order (in the file's
/// own element type). rope_freqs.weight, which is a part of the config, is left out. `file` must outlive this
/// object.
class LlamaGgufWeights : public TensorFile {
 public:
  /// @throws FormatError naming a tensor that llama does not have.
  explicit LlamaGgufWeights(const GgufFile& file);

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  /// The rows of a q or k tensor are put in order at the first call and kept until release_pages(). May be
  /// called from several threads.
  std::span<const std::byte> bytes(const TensorInfo& tensor) const override;
  void check_unchanged() const override { file_.check_unchanged(); }
  void release_pages() const override {
    const std::scoped_lock lock(mutex_);
    reordered_.clear();
    file_.release_pages();
  }

 private:
  const GgufFile& file_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string, std::less<>> gguf_names_;  // from Hugging Face's
  int64_t num_heads_, num_key_value_heads_, head_dim_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::vector<std::byte>, std::less<>> reordered_;
};

/// The "llama." keys (and general.architecture) that an engine needs for a model with this config.json.
/// @throws core::Error kBadConfig for a rotary scaling that GGUF does not express.
void add_llama_metadata(GgufPairs& pairs, const HfConfig& config);

}  // namespace phalanx::formats
