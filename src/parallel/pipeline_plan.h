#pragma once
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace phalanx::parallel {

/// In which order each rank of a pipeline runs the forwards and backwards of its micro-batches. p ranks, m
/// micro-batches, v stages ("chunks") on each rank; F, B, W = time of the forward, of the gradient of the
/// input and of the gradient of the weights of one micro-batch on all chunks of a rank; memory in
/// micro-batches whose activations a rank holds at once.
///
///     name              idle time of the last to finish   memory            source
///     gpipe             (p-1) (F+B+W)                     m                 Huang et al. 2019,
///     arXiv:1811.06965 1f1b              (p-1) (F+B+W)                     p                 Narayanan et
///     al. 2021, 2104.04473 interleaved_1f1b  (p-1) (F+B+W) / v                 p + (p-1)/v       the same,
///     section 2.2 zb_h1             (p-1) (F+B-W)                     p                 Qi et al. 2023,
///     arXiv:2401.10241 zb_v              about 0 where F = B = W           p                 the same; Qi et
///     al. 2024, 2405.15362
enum class PipelineScheduleKind { kGPipe, k1F1B, kInterleaved1F1B, kZeroBubbleH1, kZeroBubbleV };

/// As in the config, `parallel.pipeline_schedule`.
std::string_view name(PipelineScheduleKind kind);
/// @throws core::Error (kBadConfig) that lists the known names.
PipelineScheduleKind parse_pipeline_schedule(std::string_view text);

enum class PipelineAction {
  kForward,
  kBackward,        ///< gradients of input and weights together
  kBackwardInput,   ///< gradient of the input alone: what the stage before waits for
  kBackwardWeight,  ///< gradient of the weights, any time after it
};

/// One piece of work of a rank.
struct PipelineStep {
  PipelineAction action = PipelineAction::kForward;
  int64_t micro_batch = 0;
  int64_t chunk = 0;  ///< which of this rank's stages, 0 .. v-1
  bool operator==(const PipelineStep&) const = default;
};

/// What goes from one stage to the next one or back. Its number serves as the tag of the message.
enum class PipelinePayload { kActivation, kGradient };

struct PipelineMessage {
  PipelinePayload payload = PipelinePayload::kActivation;
  int64_t micro_batch = 0;
  int64_t from_stage = 0;
  int64_t to_stage = 0;
  bool operator==(const PipelineMessage&) const = default;
};

/// A schedule as data: what each rank does, in order. A rank runs its list from the front. Before a step it
/// waits for `input_of` it, after the step it hands on `output_of` it, without waiting for the receiver.
/// Messages whose two stages lie on one rank are handed over in memory. Between two ranks, activations are
/// received in the order in which they were sent, and so are gradients, but the two kinds may overtake each
/// other (needs_message_tags in pipeline_plan_check.h says in which plans): send them with the payload as
/// tag.
struct PipelinePlan {
  PipelineScheduleKind kind = PipelineScheduleKind::kGPipe;
  int64_t num_ranks = 1;
  int64_t chunks_per_rank = 1;
  int64_t num_micro_batches = 1;
  std::vector<std::vector<PipelineStep>> steps;  ///< one list per rank of the pipeline

  int64_t num_stages() const { return num_ranks * chunks_per_rank; }

  /// The model's layers are cut into stages 0 .. p v - 1. Looped placement, stage = chunk p + rank; zb_v
  /// folds it into a V: rank r has the stages r and 2p - 1 - r, so the first and the last are on rank 0.
  int64_t stage_of(int64_t rank, int64_t chunk) const;
  int64_t rank_of(int64_t stage) const;
  int64_t chunk_of(int64_t stage) const;

  /// The message without which the step cannot begin. None for the first stage's forward, for the last
  /// stage's backward (which begins with the loss of its own forward) and for kBackwardWeight.
  std::optional<PipelineMessage> input_of(int64_t rank, const PipelineStep& step) const;
  /// The message for which another stage waits. None for the last stage's forward, for the first stage's
  /// backward and for kBackwardWeight.
  std::optional<PipelineMessage> output_of(int64_t rank, const PipelineStep& step) const;
};

/// The same plan for the same arguments, on every machine. In every plan a chunk's weight gradients
/// (kBackward or kBackwardWeight) come in the order of the micro-batches, so sums over them do not depend on
/// the kind.
///
/// @param chunks_per_rank  v: any for interleaved_1f1b, 2 for zb_v, 1 for the others.
/// @param num_micro_batches  any number. Bubbles are smallest where it is a multiple of p with
/// interleaved_1f1b, at least p with zb_h1, and at most p or at least 2p - 1 with zb_v.
/// @throws core::Error (kBadConfig) if a number is below 1 or v does not suit the kind.
PipelinePlan make_pipeline_plan(PipelineScheduleKind kind, int64_t num_ranks, int64_t chunks_per_rank,
                                int64_t num_micro_batches);

}  // namespace phalanx::parallel
