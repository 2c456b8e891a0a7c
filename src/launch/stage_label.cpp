// kind: label. People choose the better answer.
#include "launch/label.h"
#include "pipeline/pipeline_file.h"

namespace phalanx::launch {
namespace {

struct LabelStage {
  std::string answers;
  int64_t preferences = 1, port = 8765, seed = 0;
  std::string host = "127.0.0.1", order = "file";
  std::optional<std::string> reward_model;
  bool token = false;
};

int label_stage(const pipeline::Stage& stage) {
  const auto& keys = stage.options<LabelStage>();
  LabelJob job;
  job.data = keys.answers;
  job.out = stage.result_path();
  job.host = keys.host;
  job.port = static_cast<uint16_t>(keys.port);
  job.wants_token = keys.token;
  job.goal = keys.preferences;
  job.reward_model = keys.reward_model.value_or("");
  job.order = {keys.order, static_cast<uint64_t>(keys.seed)};
  return static_cast<int>(label_answers(job));
}

pipeline::StageKind label_kind() {
  using L = LabelStage;
  pipeline::StageKind kind = pipeline::make_kind<L>(
      "label", "People choose the better answer on a web page.", [](core::SectionBuilder<L>& s) {
        s.field("answers", &L::answers,
                {.help = "Records with two or more answers to a prompt.",
                 .required_in_item = true,
                 .path = core::PathOf::kRecords});
        s.field("preferences", &L::preferences,
                {.help = "The stage ends when so many stand, or when somebody says that it is enough.",
                 .min = 1,
                 .required_in_item = true});
        s.field("order", &L::order,
                {.help = "Which pairs are asked first.", .one_of = {"file", "random", "uncertain"}});
        s.field("reward_model", &L::reward_model,
                {.help = "order uncertain: scores the pairs.", .path = core::PathOf::kAnyModel});
        s.field("seed", &L::seed,
                {.help = "Names the order of questions and the sides of answers.", .min = 0});
        s.field("host", &L::host,
                {.help = "Address to listen on; one that others reach is protected by a token."});
        s.field("port", &L::port, {.help = "0: any free one.", .min = 0, .max = 65535});
        s.field("token", &L::token, {.help = "A token on this machine's own address, too."});
      });
  kind.reads = {"run.threads"};
  kind.result = [](const pipeline::Stage&) {
    return pipeline::Result{"preferences.jsonl", core::PathOf::kRecords};
  };
  kind.check = [](const pipeline::Stage& stage, std::vector<core::Problem>& problems) {
    const auto& keys = stage.options<L>();
    if (keys.reward_model && keys.order != "uncertain")
      problems.push_back({stage.position("reward_model"),
                          "reward_model scores the pairs for order: uncertain; set that, or remove it"});
  };
  kind.resumes = true;
  kind.keeps_work = true;
  kind.run = label_stage;
  return kind;
}

[[maybe_unused]] const bool label_kind_registered = pipeline::register_stage_kind(label_kind);

}  // namespace
}  // namespace phalanx::launch
