#include "trainer/model_setup.h"

#include <filesystem>

#include "core/error.h"
#include "core/run_options.h"
#include "lora/lora_options.h"
#include "model/model_options.h"

namespace phalanx::trainer {
namespace {

using core::ExitCode;

generate::ModelSource open_weights(const model::ModelOptions& options) {
  generate::ModelSource source =
      generate::open_model(*options.path, {std::nullopt, options.tokenizer, options.chat_template});
  if (source.adapter) {
    core::fail(ExitCode::kBadConfig,
               "model.path is the adapter {}; set model.path to its base and lora.path to the adapter, or "
               "merge them first",
               source.adapter->string());
  }
  return source;
}

}  // namespace

ModelSetup::ModelSetup(const core::Config& config) {
  const auto& options = config.get<model::ModelOptions>();
  dtype_ = options.dtype;
  if (options.path) {
    generate::ModelSource source = open_weights(options);
    config_ = source.files.config();
    files_.emplace(std::move(source.files));
    tokenizer_ = std::move(source.tokenizer);
    chat_template_ = std::move(source.chat_template);
    return;
  }
  if (!options.family) {
    core::fail(ExitCode::kBadConfig,
               "{}: error: neither model.path nor model.family is set; path names a Hugging Face folder or a "
               ".gguf file, family starts a new model",
               config.position("model"));
  }
  if (!options.tokenizer) {
    core::fail(ExitCode::kBadConfig,
               "{}: error: model.tokenizer is not set; a new model (model.family) needs the folder or .gguf "
               "file of a tokenizer",
               config.position("model.family"));
  }
  family_ = *options.family;
  tokenizer_ = generate::open_tokenizer(*options.tokenizer);
  chat_template_ = generate::chosen_template(*tokenizer_, options.chat_template);
  config_ = model::config_of_new_model(options, tokenizer_->vocab_size());
  const data::SpecialTokens& special = tokenizer_->special_tokens();
  if (special.bos) config_.bos_token_id = *special.bos;
  if (special.eos) config_.eos_token_ids = {*special.eos};
  if (special.pad) config_.pad_token_id = *special.pad;
}

std::vector<std::string> ModelSetup::notices() const {
  return files_ ? files_->notices() : std::vector<std::string>();
}

std::string ModelSetup::name() const {
  return files_ ? std::filesystem::absolute(files_->path()).string() : family_;
}

core::DType ModelSetup::saved_dtype() const {
  if (dtype_ == "fp64") return core::DType::kF64;
  if (dtype_ == "fp32") return core::DType::kF32;
  if (dtype_ == "fp16") return core::DType::kF16;
  const bool keeps_source = dtype_ == "auto" && files_ &&
                            (files_->dtype() == core::DType::kF64 || files_->dtype() == core::DType::kF32 ||
                             files_->dtype() == core::DType::kF16);
  return keeps_source ? files_->dtype() : core::DType::kBF16;
}

void ModelSetup::check() const {
  if (files_) model::check_model(*files_);
}

std::shared_ptr<model::CausalLm> ModelSetup::load(at::ScalarType dtype, uint64_t seed) const {
  return files_ ? model::load_model(*files_, dtype) : model::new_model(config_, dtype, seed);
}

TrainedModel load_trained_model(const core::Config& config, const ModelSetup& setup, at::ScalarType compute) {
  const auto seed = static_cast<uint64_t>(config.get<core::RunOptions>().seed);
  const at::ScalarType masters = compute == at::kDouble ? at::kDouble : at::kFloat;
  if (!config.has("lora")) return {setup.load(masters, seed), std::nullopt};
  const auto& options = config.get<lora::LoraOptions>();
  TrainedModel trained{setup.load(compute, seed), std::nullopt};
  trained.adapter = options.path ? lora::load_adapter(*trained.model, *options.path, masters)
                                 : lora::apply(*trained.model, options, seed, masters);
  return trained;
}

}  // namespace phalanx::trainer
