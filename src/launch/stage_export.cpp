// kind: export. A model in another format, verified.
#include "core/error.h"
#include "launch/convert.h"
#include "launch/export_job.h"
#include "launch/ranks.h"
#include "launch/written_model.h"
#include "pipeline/pipeline_file.h"

namespace phalanx::launch {
namespace {

struct ExportStage {
  std::string source;
  WriterKeys writer;
  bool adapter = false;
};

int export_stage(const pipeline::Stage& stage) {
  const auto& keys = stage.options<ExportStage>();
  ExportArguments arguments = writer_arguments(keys.writer, stage);
  arguments.source = keys.source;
  arguments.adapter_alone = keys.adapter;
  return on_any_ranks(stage.config, [&](comm::Communicator& group) {
    export_model(arguments, stage.config, group);
    return 0;
  });
}

pipeline::StageKind export_kind() {
  pipeline::StageKind kind = pipeline::make_kind<ExportStage>(
      "export", "Writes a model in another format and verifies it.",
      [](core::SectionBuilder<ExportStage>& s) {
        s.field("source", &ExportStage::source,
                {.help = "What is exported.", .required_in_item = true, .path = core::PathOf::kAnyModel});
        declare_writer_keys(s, &ExportStage::writer);
        s.field("adapter", &ExportStage::adapter,
                {.help = "gguf: the adapter alone, to load beside its base."});
      });
  kind.reads = {"run.threads", "parallel", "model.path", "model.tokenizer", "model.chat_template"};
  kind.own_only = {"model"};
  kind.result = [](const pipeline::Stage& stage) {
    const auto& keys = stage.options<ExportStage>();
    pipeline::Result result = written_result(keys.writer);
    if (keys.adapter) result.of = core::PathOf::kAdapter;
    return result;
  };
  kind.check = [](const pipeline::Stage& stage, std::vector<core::Problem>& problems) {
    check_writer_keys(stage.options<ExportStage>().writer, stage, problems);
  };
  kind.run = export_stage;
  return kind;
}

[[maybe_unused]] const bool export_kind_registered = pipeline::register_stage_kind(export_kind);

}  // namespace
}  // namespace phalanx::launch
