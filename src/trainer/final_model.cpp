#include "trainer/final_model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "generate/verify_export.h"
#include "model/parameter.h"
#include "model/save.h"

namespace phalanx::trainer {
namespace {

namespace fs = std::filesystem;
constexpr double kLimit = 1e-3;  // nats, or of a score

std::vector<std::vector<int32_t>> prompts_of(const data::Tokenizer& tokenizer) {
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string& text : generate::verification_texts()) prompts.push_back(tokenizer.encode(text));
  return prompts;
}

void write_files(const fs::path& folder, const ModelSetup& setup, const TrainedModel& trained,
                 const model::WeightSource& masters) {
  core::make_directories(folder.string());
  if (trained.adapter) {
    lora::save_adapter(folder, *trained.adapter, masters, core::DType::kF32, setup.name());
  } else {
    model::save_hf(folder, *trained.model, masters, setup.saved_dtype());
  }
  setup.tokenizer().save_hf(folder.string());
  if (setup.chat_template() != setup.tokenizer().chat_template()) {
    core::write_file_atomic((folder / "chat_template.jinja").string(), setup.chat_template());
  }
}

/// By scores, of a model that has them in place of log-probabilities.
generate::Comparison compare_scores(model::CausalLm& source, model::CausalLm& other,
                                    const std::vector<std::vector<int32_t>>& prompts) {
  const at::NoGradGuard no_grad;
  const auto scores = [](model::CausalLm& model, const std::vector<int32_t>& ids) {
    const auto count = static_cast<int64_t>(ids.size());
    const at::Tensor input = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
    const at::Tensor hidden =
        model.hidden({input, at::arange(count, at::kLong), {0, static_cast<int32_t>(count)}});
    return model.head().scores(hidden, model.output_weight(), model.output_bias()).to(at::kFloat);
  };
  generate::Comparison result;
  for (const std::vector<int32_t>& ids : prompts) {
    const at::Tensor apart = (scores(source, ids) - scores(other, ids)).abs().max();
    result.max_difference = std::max(result.max_difference, apart.item<double>());
    result.num_tokens += static_cast<int64_t>(ids.size());
  }
  return result;
}

generate::Comparison compare_answers(model::CausalLm& source, model::CausalLm& other,
                                     const ModelSetup& setup) {
  const auto prompts = prompts_of(setup.tokenizer());
  return setup.config().num_labels > 0 ? compare_scores(source, other, prompts)
                                       : generate::compare(source, other, prompts);
}

/// Base and adapter as the run has them against the adapter's file on a base that is read anew.
generate::Comparison compare_adapter(const fs::path& folder, const TrainedModel& expected,
                                     const ModelSetup& setup, const model::WeightSource& masters,
                                     at::ScalarType compute) {
  setup.fill(*expected.model, compute, 0);
  for (auto& [name, parameter] : model::trainable_parameters(*expected.model))
    parameter.set_data(masters(name).to(compute));
  auto written = setup.load(compute, 0);
  const lora::Adapter adapter = lora::load_adapter(*written, lora::open_adapter(folder), compute);
  adapter.settle(*written);
  return compare_answers(*expected.model, *written, setup);
}

generate::Comparison compare_model(const fs::path& folder, const ModelSetup& setup,
                                   const model::WeightSource& masters) {
  auto expected = model::build(setup.config());
  model::allocate(*expected, at::kFloat);
  generate::assign(*expected, generate::rounded(masters, setup.saved_dtype()));
  auto written = model::load_model(folder, at::kFloat);
  return compare_answers(*expected, *written, setup);
}

void replace(const fs::path& from, const fs::path& to) {
  fs::remove_all(to);
  fs::rename(from, to);
}

}  // namespace

void write_final_model(const fs::path& folder, const std::function<TrainedModel()>& build,
                       const ModelSetup& setup, const model::WeightSource& weights, at::ScalarType compute) {
  const fs::path partial = folder.string() + ".partial";
  const TrainedModel whole = build();  // its names and shapes
  fs::remove_all(partial);
  write_files(partial, setup, whole, weights);
  const generate::Comparison comparison = whole.adapter
                                              ? compare_adapter(partial, build(), setup, weights, compute)
                                              : compare_model(partial, setup, weights);
  if (!(comparison.max_difference <= kLimit)) {
    core::fail(core::ExitCode::kBug,
               "{}: read back, it differs from the trained model by {:.2e} (limit {:.0e})", partial.string(),
               comparison.max_difference, kLimit);
  }
  replace(partial, folder);
  core::log_note("{}: {}, read back and compared on {} tokens: max |difference of {}| {:.1e}",
                 folder.string(), whole.adapter ? "adapter in PEFT's format" : "Hugging Face folder",
                 comparison.num_tokens, setup.config().num_labels > 0 ? "scores" : "log p",
                 comparison.max_difference);
}

}  // namespace phalanx::trainer
