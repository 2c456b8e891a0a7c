#include "reward/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/error.h"

namespace phalanx::reward {
namespace {

constexpr uint32_t kMaxMatchSteps = 1'000'000;
constexpr uint32_t kMaxMatchHeapKib = 64 << 10;
constexpr size_t kMaxPatternBytes = 1 << 16;

}  // namespace

struct Pattern::Compiled {
  pcre2_code* code = nullptr;
  ~Compiled() { pcre2_code_free(code); }

  /// Buffers of one match; the group's ends stay in `data`.
  struct Match {
    pcre2_match_data* data;
    pcre2_match_context* limits = pcre2_match_context_create(nullptr);
    explicit Match(const pcre2_code* code) : data(pcre2_match_data_create_from_pattern(code, nullptr)) {
      pcre2_set_match_limit(limits, kMaxMatchSteps);
      pcre2_set_heap_limit(limits, kMaxMatchHeapKib);
    }
    ~Match() {
      pcre2_match_context_free(limits);
      pcre2_match_data_free(data);
    }
    Match(const Match&) = delete;
    Match& operator=(const Match&) = delete;
  };

  Outcome run(Match& match, std::string_view text, size_t from, uint32_t options) const {
    const int found = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, options,
                                  match.data, match.limits);
    if (found >= 0) return Outcome::kYes;
    return found == PCRE2_ERROR_NOMATCH ? Outcome::kNo : Outcome::kTooCostly;
  }
};

Pattern::Pattern(const std::string& pattern, int num_groups, std::string_view key)
    : compiled_(std::make_unique<Compiled>()) {
  if (pattern.empty() || pattern.size() > kMaxPatternBytes) {
    core::fail(core::ExitCode::kBadConfig, "{} must be a regular expression of 1 to {} bytes", key,
               kMaxPatternBytes);
  }
  int error = 0;
  size_t place = 0;
  // A completion may be cut inside of a character: what is no UTF-8 matches nothing.
  compiled_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_DOTALL | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C,
                    &error, &place, nullptr);
  if (compiled_->code == nullptr) {
    unsigned char text[256];
    pcre2_get_error_message(error, text, sizeof text);
    core::fail(core::ExitCode::kBadConfig, "{}: {}: {} at byte {}", key, core::printable(pattern, 80),
               reinterpret_cast<const char*>(text), place);
  }
  uint32_t groups = 0;
  pcre2_pattern_info(compiled_->code, PCRE2_INFO_CAPTURECOUNT, &groups);
  if (static_cast<int>(groups) < num_groups) {
    core::fail(core::ExitCode::kBadConfig,
               "{}: {} has no group; put what is the answer in parentheses, as in \"#### (.*)\"", key,
               core::printable(pattern, 80));
  }
}

Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

Pattern::Outcome Pattern::match_whole(std::string_view text) const {
  Compiled::Match match(compiled_->code);
  const Outcome outcome = compiled_->run(match, text, 0, PCRE2_ANCHORED | PCRE2_ENDANCHORED);
  // PCRE2 takes a byte that is no character for the end of the text.
  const bool is_whole = outcome != Outcome::kYes || pcre2_get_ovector_pointer(match.data)[1] == text.size();
  return is_whole ? outcome : Outcome::kNo;
}

Pattern::Outcome Pattern::find_last(std::string_view text, std::string_view* group) const {
  Compiled::Match match(compiled_->code);
  Outcome outcome = Outcome::kNo;
  for (size_t from = 0; from <= text.size();) {
    const Outcome found = compiled_->run(match, text, from, 0);
    if (found == Outcome::kTooCostly) return found;
    if (found == Outcome::kNo) break;
    outcome = Outcome::kYes;
    const size_t* ends = pcre2_get_ovector_pointer(match.data);
    *group = ends[2] == PCRE2_UNSET ? std::string_view() : text.substr(ends[2], ends[3] - ends[2]);
    size_t next = std::max(ends[1], from);
    if (ends[1] <= ends[0]) {  // an empty match: go on behind the next character
      ++next;
      while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xC0) == 0x80) ++next;
    }
    from = next;
  }
  return outcome;
}

}  // namespace phalanx::reward
