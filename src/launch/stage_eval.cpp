// kind: eval. Loss and perplexity of a model on data.eval.
#include "core/files.h"
#include "core/log.h"
#include "data/data_options.h"
#include "launch/eval.h"
#include "pipeline/pipeline_file.h"

namespace phalanx::launch {
namespace {

struct EvalStage {
  std::string source;
};

int eval_stage(const pipeline::Stage& stage) {
  const std::string& source = stage.options<EvalStage>().source;
  return evaluate_model(source, stage.config, [&](const nlohmann::ordered_json& row) {
    core::log_note("stage {}: {}", stage.name, row.dump());
    core::write_file_atomic(stage.result_path(), row.dump() + "\n");
  });
}

pipeline::StageKind eval_kind() {
  pipeline::StageKind kind = pipeline::make_kind<EvalStage>(
      "eval", "Loss and perplexity of a model on data.eval.", [](core::SectionBuilder<EvalStage>& s) {
        s.field("source", &EvalStage::source,
                {.help = "What is evaluated.", .required_in_item = true, .path = core::PathOf::kAnyModel});
      });
  kind.reads = {"run.threads",
                "run.determinism",
                "parallel",
                "train.precision",
                "model.path",
                "model.tokenizer",
                "model.chat_template",
                "data.eval",
                "data.sequence_length",
                "data.packing",
                "data.loss_on",
                "data.on_too_long",
                "data.special_tokens_in_content",
                "data.max_bad_records",
                "data.cache_dir",
                "eval.max_sequences"};
  kind.own_only = {"model"};
  kind.result = [](const pipeline::Stage&) {
    return pipeline::Result{"evaluation.json", core::PathOf::kFile};
  };
  kind.check = [](const pipeline::Stage& stage, std::vector<core::Problem>& problems) {
    if (stage.config.get<data::DataOptions>().eval.empty())
      problems.push_back(
          {stage.position("data.eval"), "data.eval is empty; name at least one file to evaluate on"});
  };
  kind.run = eval_stage;
  return kind;
}

[[maybe_unused]] const bool eval_kind_registered = pipeline::register_stage_kind(eval_kind);

}  // namespace
}  // namespace phalanx::launch
