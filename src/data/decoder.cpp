#include "data/decoder.h"

#include "data/decoder_stages.h"
#include "data/json_kinds.h"

namespace phalanx::data {

namespace {

constexpr JsonKind<DecoderStages> kDecoderKinds[] = {
    {"ByteLevel", add_byte_level_decoder},
    {"Metaspace", add_metaspace_decoder},
    {"ByteFallback", add_byte_fallback_decoder},
    {"Fuse", add_fuse_decoder},
    {"Strip", add_strip_decoder},
    {"Replace", add_replace_decoder},
    {"WordPiece", add_wordpiece_decoder},
    {"BPEDecoder", add_bpe_decoder},
    {"CTC", add_ctc_decoder},
};

}  // namespace

Decoder::Decoder(const std::string& json, const std::string& source) {
  if (json.empty()) {
    stages_.push_back(make_space_join());
    return;
  }
  const JsonDocument document(json, source, "decoder");
  for_each_in_sequence(document.root(), "decoders", [&](const JsonValue& value) {
    add_kind(value, kDecoderKinds, stages_);
    is_byte_level_ = stages_.size() == 1 && value.type() == "ByteLevel";
  });
}

std::string Decoder::plain(std::string token) const {
  for (const auto& stage : stages_) token = stage->plain(std::move(token));
  return token;
}

Decoder::Stream::Stream(const Decoder& decoder) {
  for (const auto& stage : decoder.stages_) stages_.push_back(stage->fresh());
}

void Decoder::Stream::run(size_t stage, std::string_view part, bool ends) {
  if (stage == stages_.size()) {
    out_ += part;
    return;
  }
  stages_[stage]->push(part, ends, [&](std::string_view p, bool e) { run(stage + 1, p, e); });
}

std::string Decoder::Stream::push(std::string_view token) {
  run(0, token, /*ends=*/true);
  return std::exchange(out_, {});
}

std::string Decoder::Stream::finish() {
  for (size_t stage = 0; stage < stages_.size(); ++stage)
    stages_[stage]->finish([&](std::string_view part, bool ends) { run(stage + 1, part, ends); });
  return std::exchange(out_, {});
}

}  // namespace phalanx::data
