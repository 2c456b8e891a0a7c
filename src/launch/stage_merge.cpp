// kind: merge. Adapters into their base, or several into one.
#include "launch/merge.h"
#include "launch/written_model.h"
#include "pipeline/pipeline_file.h"

namespace phalanx::launch {
namespace {

struct MergeStage {
  std::vector<NamedAdapter> adapters;
  WriterKeys writer;
  std::optional<std::string> combine;
  std::optional<double> density;
  std::optional<int64_t> svd_rank;
};

int merge_stage(const pipeline::Stage& stage) {
  const auto& keys = stage.options<MergeStage>();
  MergeJob job;
  job.writing = writer_arguments(keys.writer, stage);
  job.adapters = keys.adapters;
  if (keys.combine) job.combine.method = *keys.combine;
  job.combine.density = keys.density;
  job.combine.svd_rank = keys.svd_rank;
  job.has_options = keys.combine || keys.density || keys.svd_rank;
  return merge_adapters(job, stage.config);
}

pipeline::StageKind merge_kind() {
  pipeline::StageKind kind = pipeline::make_kind<MergeStage>(
      "merge", "Merges adapters into their base, or several into one, and verifies the result.",
      [](core::SectionBuilder<MergeStage>& s) {
        s.list<NamedAdapter>(
            "adapters", &MergeStage::adapters,
            {.help = "Adapters and their weights.", .required_in_item = true},
            [](core::SectionBuilder<NamedAdapter>& a) {
              a.field(
                  "path", &NamedAdapter::path,
                  {.help = "PEFT folder or run.", .required_in_item = true, .path = core::PathOf::kAdapter});
              a.field("weight", &NamedAdapter::weight, {.help = "Factor in the sum."});
            });
        declare_writer_keys(s, &MergeStage::writer);
        s.field("combine", &MergeStage::combine,
                {.help = "How several adapters become one.", .one_of = lora::combine_methods()});
        s.field("density", &MergeStage::density,
                {.help = "ties, dare, magnitude_prune: share of elements kept.", .min = 0, .max = 1});
        s.field("svd_rank", &MergeStage::svd_rank, {.help = "svd: rank of the result.", .min = 1});
      });
  kind.reads = {"run.threads", "parallel", "model.path", "model.tokenizer", "model.chat_template"};
  kind.own_only = {"model"};
  kind.result = [](const pipeline::Stage& stage) {
    return written_result(stage.options<MergeStage>().writer);
  };
  kind.check = [](const pipeline::Stage& stage, std::vector<core::Problem>& problems) {
    const auto& keys = stage.options<MergeStage>();
    check_writer_keys(keys.writer, stage, problems);
    if (keys.adapters.empty())
      problems.push_back({stage.position("adapters"), "adapters is empty; name at least one: [{path: ...}]"});
  };
  kind.run = merge_stage;
  return kind;
}

[[maybe_unused]] const bool merge_kind_registered = pipeline::register_stage_kind(merge_kind);

}  // namespace
}  // namespace phalanx::launch
